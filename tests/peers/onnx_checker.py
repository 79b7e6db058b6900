"""Runs the checker of the `onnx` package over ONNX files or bundles; the exit code is 1 if one fails.

    .peers/bin/python tests/peers/onnx_checker.py runs/demo/bundle
"""

import sys
from pathlib import Path

import onnx


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    failed = False
    for argument in map(Path, sys.argv[1:]):
        path = argument / "model.onnx" if argument.is_dir() else argument
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except Exception as error:  # the checker raises several kinds, all of which say why
            failed = True
            print(f"{path}: {error}", file=sys.stderr)
            continue
        model = onnx.load(path, load_external_data=False)
        opset = {o.domain or "ai.onnx": o.version for o in model.opset_import}
        print(f"{path}: valid, {len(model.graph.node)} nodes, opset {opset}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
