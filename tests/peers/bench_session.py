"""Images per second of ONNX Runtime's Python API, for `make bench`.

    .peers/bin/python tests/peers/bench_session.py MODEL.onnx --batches 1,8,16,32 --json P

One session with the threads that are given, as the API is used most: images in, logits out.
"""

import argparse
import json
import os
import time

import numpy as np
import onnxruntime


def rate(session, batch, seconds):
    """Images per second of runs of `batch` images, after one that does not count."""
    [image] = session.get_inputs()
    images = np.random.default_rng(0).random((batch, *image.shape[1:]), np.float32)
    session.run(None, {image.name: images})
    started, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - started < seconds:
        session.run(None, {image.name: images})
        count += batch
    return count / (time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batches", default="1,8,16,32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=1.0, help="for each batch size")
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    batches = [int(batch) for batch in arguments.batches.split(",")]
    result = {
        "program": f"onnxruntime {onnxruntime.__version__}",
        "images_per_second": {batch: rate(session, batch, arguments.seconds) for batch in batches},
    }
    with open(arguments.json, "w") as file:
        json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
