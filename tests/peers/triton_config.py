"""Triton's own protobuf schema on the `config.pbtxt` that `rift-exporter deploy --triton` writes.

    rift-exporter deploy BUNDLE --triton REPOSITORY
    .peers/bin/python tests/peers/triton_config.py REPOSITORY

Parses each model's configuration strictly, with `model_config.proto` as NVIDIA publishes it compiled
in `tritonclient`, and holds it against the model's own interface and labels. Exit code 1 where
something does not agree.
"""

import importlib.util
import sys
from pathlib import Path

import onnx
from google.protobuf import text_format


def schema():
    """`model_config_pb2` of tritonclient, without the gRPC that its package would load."""
    (package,) = importlib.util.find_spec("tritonclient").submodule_search_locations
    path = Path(package) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dims(value):
    return [d.dim_value for d in value.type.tensor_type.shape.dim][1:]


def check(folder, pb):
    config = text_format.Parse((folder / "config.pbtxt").read_text(), pb.ModelConfig())
    model = onnx.load(folder / "1" / "model.onnx")
    (source,), (result,) = model.graph.input, model.graph.output
    assert config.name == folder.name, config.name
    assert config.backend == "onnxruntime" and config.max_batch_size > 0
    for declared, value in [(config.input[0], source), (config.output[0], result)]:
        assert declared.name == value.name, (declared.name, value.name)
        assert list(declared.dims) == dims(value), (list(declared.dims), dims(value))
        assert declared.data_type == pb.TYPE_FP32
    labels = (folder / config.output[0].label_filename).read_text().splitlines()
    assert len(labels) == dims(result)[0], labels
    assert config.HasField("dynamic_batching") and config.model_warmup
    for warmup in config.model_warmup:
        assert 1 <= warmup.batch_size <= config.max_batch_size
        assert list(warmup.inputs[source.name].dims) == dims(source)
    print(f"{folder}: holds ({len(labels)} labels, batches of up to {config.max_batch_size})")


def main():
    (repository,) = sys.argv[1:]
    models = sorted(path.parent for path in Path(repository).glob("*/config.pbtxt"))
    assert models, f"no model in {repository}"
    for folder in models:
        check(folder, schema())


if __name__ == "__main__":
    main()
