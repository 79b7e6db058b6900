"""Holds `rift-runtime gradient` against the gradients that `export_torchvision.py` or `export_keras.py` wrote.

    .peers/bin/python tests/peers/compare_gradients.py FOLDER --runtime target/release/rift-runtime

For each FOLDER/NAME.onnx the program writes the gradient graph, the checker of the `onnx` package
looks at it, ONNX Runtime's Python API runs it, and a row of a table is printed: model, operator set,
nodes of the model and of the gradient graph, relative errors, and the seconds that the program took.
A relative error is max |found − expected| / max |expected|. Exit status 1 if one is above 1e-4.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime

LIMIT = 1e-4


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def run(graph: pathlib.Path, case) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    image = next(i.name for i in session.get_inputs() if i.name != "cotangent")
    inputs = {image: case["x"], "cotangent": case["cotangent"]}
    return session.run(["input_gradient"], inputs)[0]


def compare(model: pathlib.Path, runtime: pathlib.Path, folder: pathlib.Path) -> bool:
    graph = folder / "gradient.onnx"
    start = time.monotonic()
    done = subprocess.run(
        [runtime, "gradient", model, "--out", graph], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - start
    if done.returncode != 0:
        print(f"| {model.stem} | {done.stderr.strip()} |", flush=True)
        return False
    onnx.checker.check_model(graph, full_check=True)
    before, after = onnx.load(model), onnx.load(graph)
    case = np.load(model.with_suffix(".npz"))
    expected = case["gradient"]
    error = relative(run(graph, case), expected)
    peer = relative(case["gradient_float32"], expected)
    opset = next(o.version for o in before.opset_import if o.domain in ("", "ai.onnx"))
    nodes = f"{len(before.graph.node)} | {len(after.graph.node)}"
    row = f"{model.stem} | {opset} | {nodes} | {error:.1e} | {peer:.1e} | {seconds:.1f}"
    print(f"| {row} |", flush=True)
    return error <= LIMIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--runtime", type=pathlib.Path, default="target/release/rift-runtime")
    args = parser.parse_args()
    print("| model | opset | nodes | with gradient | relative error | the peer's float32 | s |")
    print("|---|---|---|---|---|---|---|")
    models = sorted(args.folder.glob("*.onnx"))
    with tempfile.TemporaryDirectory() as folder:
        held = [compare(model, args.runtime, pathlib.Path(folder)) for model in models]
    sys.exit(0 if models and all(held) else 1)


if __name__ == "__main__":
    main()
