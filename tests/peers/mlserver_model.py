"""An ONNX classifier for MLServer, run by ONNX Runtime's Python API as its users do it.

`make bench` starts it: MLServer reads `model-settings.json`, which names this class.
"""

import asyncio

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxClassifier(MLModel):
    """One session, which uses every core unless `parameters.extra.threads` says otherwise."""

    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.settings.parameters.extra["threads"]
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        [self.input], [self.output] = self.session.get_inputs(), self.session.get_outputs()
        return True

    async def predict(self, payload):
        [request] = payload.inputs
        images = NumpyCodec.decode_input(request)
        # A run holds no lock of Python's: others are read and written meanwhile.
        run = asyncio.to_thread(self.session.run, [self.output.name], {self.input.name: images})
        [logits] = await run
        output = NumpyCodec.encode_output(self.output.name, logits)
        return InferenceResponse(model_name=self.name, outputs=[output])
