"""An ONNX classifier for KServe's Python server, run by ONNX Runtime's Python API as its users do it.

    .peers-kserve/bin/python tests/peers/kserve_model.py MODEL.onnx --port P --threads N
"""

import argparse
import asyncio

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class OnnxClassifier(Model):
    """One session, which uses `threads` cores."""

    def __init__(self, path, threads):
        super().__init__("model")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        [self.input], [self.output] = self.session.get_inputs(), self.session.get_outputs()
        self.ready = True

    def get_input_types(self):
        shape = [side if isinstance(side, int) else -1 for side in self.input.shape]
        return [{"name": self.input.name, "datatype": "FP32", "shape": shape}]

    def get_output_types(self):
        shape = [side if isinstance(side, int) else -1 for side in self.output.shape]
        return [{"name": self.output.name, "datatype": "FP32", "shape": shape}]

    async def predict(self, payload, headers=None, response_headers=None):
        [image] = payload.inputs
        # A run holds no lock of Python's: others are read and written meanwhile.
        run = asyncio.to_thread(self.session.run, [self.output.name], {self.input.name: image.as_numpy()})
        [logits] = await run
        output = InferOutput(self.output.name, list(logits.shape), "FP32")
        binary = payload.use_binary_outputs
        output.set_data_from_numpy(logits, binary_data=binary)
        return InferResponse(payload.id or "", self.name, [output], use_binary_outputs=binary)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    model = OnnxClassifier(arguments.model, arguments.threads)
    ModelServer(http_port=arguments.port, enable_grpc=False, workers=1).start([model])


if __name__ == "__main__":
    main()
