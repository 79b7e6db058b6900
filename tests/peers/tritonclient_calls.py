"""Every call that NVIDIA's `tritonclient` has for what `rift-runtime serve` serves, against the server.

    tests/peers/setup.sh serving
    .peers-serving/bin/python tests/peers/tritonclient_calls.py MODEL [--program PATH]

Starts the server on a bundle or an `.onnx` file and calls it over HTTP and gRPC, by the blocking and the
asynchronous clients: tensors and pictures, binary and JSON, packed and not, one image and several, one
request and many at once, and a stream. The answers are held against `rift-runtime classify` of the same
pictures, which must be what the tensors hold: for models without a normalisation of their own outside
the file. Prints a table; the exit code is 1 where something differs.
"""

import argparse
import asyncio
import base64
import json
import queue
import struct
import subprocess
import sys
import tempfile
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

TOP = Path(__file__).resolve().parents[2]
PICTURES = 5
# Pixels of eight bits become floats in `classify` and here by the same division.
TOLERANCE = 1e-5


class Blocking:
    """An asynchronous client whose calls wait."""

    def __init__(self, make):
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self._made(make))

    @staticmethod
    async def _made(make):
        return make()

    def __getattr__(self, name):
        method = getattr(self.client, name)
        return lambda *args, **named: self.loop.run_until_complete(method(*args, **named))


class Table:
    """What was called, and how far the answer was from what it must be."""

    def __init__(self):
        self.failed = 0
        print(f"{'client':10} {'call':28} {'what':34} result")

    def row(self, client, call, what, function):
        try:
            difference = function()
            result = "as it must be" if difference is None else f"max difference {difference:.1e}"
            bad = difference is not None and not difference <= TOLERANCE
        except Exception as error:  # every failure is a row
            result, bad = f"{type(error).__name__}: {error}", True
        self.failed += bad
        print(f"{client:10} {call:28} {what:34} {'DIFFERS: ' if bad else ''}{result}")


def must(condition, what):
    if not condition:
        raise AssertionError(what)


def png(pixels):
    """A PNG of `H x W x C` bytes."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    kind = {1: 0, 3: 2}[channels]

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


class Served:
    """A server, and what `classify` says of some pictures."""

    def __init__(self, program, model, folder):
        command = [program, "serve", f"m={model}", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "--grpc-listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        self.http = self.process.stdout.readline().split("//")[-1].strip()
        self.grpc = self.process.stdout.readline().split()[-1]
        with triton_http.InferenceServerClient(self.http) as client:
            while not client.is_server_ready():
                must(self.process.poll() is None, "the server has ended")
            metadata = client.get_model_metadata("m")
        (source,), (result,) = metadata["inputs"], metadata["outputs"]
        must(source["datatype"] == "FP32", f"the input is {source['datatype']}, expected FP32")
        self.input, self.output = source["name"], result["name"]
        self.shape, self.classes = source["shape"][1:], result["shape"][1]
        channels, height, width = self.shape
        pixels = np.random.default_rng(0).integers(
            0, 256, (PICTURES, height, width, channels), dtype=np.uint8
        )
        self.files = [png(picture) for picture in pixels]
        self.tensor = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) / np.float32(255)
        paths = [folder / f"{number}.png" for number in range(PICTURES)]
        for path, file in zip(paths, self.files):
            path.write_bytes(file)
        report = folder / "classify.json"
        subprocess.run(
            [program, "classify", model, *paths, "--top", "1", "--json", report],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        self.logits = np.zeros((PICTURES, self.classes), dtype=np.float32)
        for row, image in zip(self.logits, json.loads(report.read_text())["images"]):
            for prediction in image["predictions"]:
                row[prediction["class"]] = prediction["logit"]

    def difference(self, result, images=slice(None)):
        found = result.as_numpy(self.output)
        expected = self.logits[images]
        must(found.shape == expected.shape, f"shape {found.shape}, expected {expected.shape}")
        return float(np.abs(found - expected).max())

    def tensors(self, module, images=slice(None), **binary):
        """The images as the model's own input."""
        part = self.tensor[images]
        tensor = module.InferInput(self.input, list(part.shape), "FP32")
        tensor.set_data_from_numpy(part, **binary)
        return [tensor]

    def pictures(self, module, as_text=False):
        """The files; in base64 where they travel as text."""
        files = [base64.b64encode(file) for file in self.files] if as_text else self.files
        tensor = module.InferInput(self.input, [PICTURES], "BYTES")
        binary = {"binary_data": False} if as_text else {}
        tensor.set_data_from_numpy(np.array(files, dtype=object), **binary)
        return [tensor]

    def labels(self, result):
        """Whether the two likeliest classes are those of `classify`."""
        for row, logits in zip(result.as_numpy(self.output), self.logits):
            order = np.argsort(-logits, kind="stable")[:2]
            found = [int(text.decode().split(":")[1]) for text in row]
            must(found == order.tolist(), f"{found}, expected {order.tolist()}")


def describing(table, name, client, **as_json):
    """The calls that ask what there is, and those that change it."""

    def row(call, what, function):
        table.row(name, call, what, function)

    row("is_server_live", "", lambda: must(client.is_server_live(), "it is not"))
    row("is_server_ready", "", lambda: must(client.is_server_ready(), "it is not"))
    for model, version, ready in [
        ("m", "", True),
        ("m", "1", True),
        ("m", "7", False),
        ("x", "", False),
    ]:
        row(
            "is_model_ready",
            f"{model} {version}",
            lambda: must(client.is_model_ready(model, version) == ready, f"it is {not ready}"),
        )

    def server():
        metadata = client.get_server_metadata(**as_json)
        must("statistics" in metadata["extensions"], metadata)

    def model():
        metadata = client.get_model_metadata("m", "1", **as_json)
        shape = [int(d) for d in metadata["inputs"][0]["shape"]]
        must(len(shape) == 4 and metadata["versions"] == ["1"], metadata)

    def config():
        config = client.get_model_config("m", **as_json)
        config = config.get("config", config)
        must(config["input"][0]["data_type"] == "TYPE_FP32", config)
        must(config["max_batch_size"] >= 1, config)

    def statistics(*of):
        (stats,) = client.get_inference_statistics(*of, **as_json)["model_stats"]
        must(stats["name"] == "m" and int(stats.get("inference_count", 0)) >= 0, stats)

    def index(state):
        models = client.get_model_repository_index(**as_json)
        (line,) = models["models"] if as_json else models
        must((line["name"], line["state"]) == ("m", state), line)

    def unloaded():
        client.unload_model("m")
        must(not client.is_model_ready("m"), "it is still ready")
        index("UNAVAILABLE")

    def loaded():
        client.load_model("m")
        must(client.is_model_ready("m"), "it is not ready")
        index("READY")

    def unknown():
        try:
            client.load_model("x")
        except InferenceServerException as error:
            return must("not known" in error.message(), error)
        raise AssertionError("no error")

    row("get_server_metadata", "", server)
    row("get_model_metadata", "", model)
    row("get_model_config", "", config)
    row("get_inference_statistics", "of all", statistics)
    row("get_inference_statistics", "of one", lambda: statistics("m", "1"))
    row("get_model_repository_index", "", lambda: index("READY"))
    row("unload_model", "", unloaded)
    row("load_model", "", loaded)
    row("load_model", "that there is none of", unknown)


def inferring(table, name, client, module, served):
    """One call after the other; `name` begins with the protocol."""
    is_http = name.startswith("http")

    def row(what, inputs, images=slice(None), check=None, **named):
        def call():
            result = client.infer("m", inputs, **named)
            return check(result) if check else served.difference(result, images)

        table.row(name, "infer", what, call)

    def output(**named):
        return [module.InferRequestedOutput(served.output, **named)]

    row("one tensor", served.tensors(module, slice(1)), slice(1))
    row(f"a tensor of {PICTURES} images", served.tensors(module))
    row("by version, with an id", served.tensors(module), model_version="1", request_id="a-7")
    row("with a timeout", served.tensors(module), timeout=20_000_000)
    row(f"{PICTURES} pictures", served.pictures(module))
    row(
        "the two likeliest classes",
        served.tensors(module),
        check=served.labels,
        outputs=output(class_count=2),
    )
    if is_http:
        forms = [(True, False), (False, True), (False, False)]
        for sent, asked in forms:
            what = f"{'binary' if sent else 'JSON'} in, {'binary' if asked else 'JSON'} out"
            inputs = served.tensors(module, binary_data=sent)
            row(what, inputs, outputs=output(binary_data=asked))
        row("pictures in JSON", served.pictures(module, as_text=True))
        for packing in ["gzip", "deflate"]:
            row(packing, served.tensors(module), request_compression_algorithm=packing)
    else:
        for packing in ["gzip", "deflate"]:
            row(packing, served.tensors(module), compression_algorithm=packing)
        row("with a deadline", served.tensors(module), client_timeout=20.0)

    def refused(what, inputs, part, model="m"):
        def call():
            try:
                client.infer(model, inputs)
            except InferenceServerException as error:
                return must(part in error.message(), error)
            raise AssertionError("no error")

        table.row(name, "infer", what, call)

    tensor = served.tensors(module)
    refused("of a model that is not there", tensor, "no model `x`", model="x")
    refused("two inputs of a model with one", tensor * 2, "expected one input, found 2")
    wrong = module.InferInput(served.input, [1], "INT64")
    wrong.set_data_from_numpy(np.zeros(1, dtype=np.int64))
    refused("another datatype", [wrong], "expected `FP32`")


def at_once(count, begin, served):
    """The largest difference over `count` requests that are begun before any is answered."""
    parts = [slice(number % PICTURES, number % PICTURES + 1) for number in range(count)]
    finish = [begin(part) for part in parts]
    return max(served.difference(done(), part) for done, part in zip(finish, parts))


def many_at_once(table, served):
    with triton_http.InferenceServerClient(served.http, concurrency=8) as client:

        def begin(part):
            return client.async_infer("m", served.tensors(triton_http, part)).get_result

        table.row("http", "async_infer", "64 at once", lambda: at_once(64, begin, served))

        def by_hand():
            body, length = client.generate_request_body(served.tensors(triton_http))
            headers = {"Inference-Header-Content-Length": str(length)} if length else {}
            request = urllib.request.Request(
                f"http://{served.http}/v2/models/m/infer", body, headers
            )
            with urllib.request.urlopen(request) as answer:
                head = int(answer.headers["Inference-Header-Content-Length"])
                result = client.parse_response_body(answer.read(), header_length=head)
            return served.difference(result)

        table.row("http", "generate_request_body", "and parse_response_body", by_hand)

    with triton_grpc.InferenceServerClient(served.grpc) as client:

        def begin(part):
            done = queue.Queue()
            inputs = served.tensors(triton_grpc, part)
            client.async_infer("m", inputs, lambda result, error: done.put((result, error)))
            return lambda: answer_of(done.get(timeout=60))

        table.row("grpc", "async_infer", "64 at once", lambda: at_once(64, begin, served))
        done = queue.Queue()
        client.start_stream(lambda result, error: done.put((result, error)))

        def begin(part):
            client.async_stream_infer("m", served.tensors(triton_grpc, part), request_id="s")
            return lambda: answer_of(done.get(timeout=60))

        table.row(
            "grpc", "async_stream_infer", "64 in one stream", lambda: at_once(64, begin, served)
        )

        def error_in_stream():
            client.async_stream_infer("x", served.tensors(triton_grpc))
            _, error = done.get(timeout=60)
            must(error and "no model `x`" in error.message(), error)
            return at_once(3, begin, served)

        table.row("grpc", "async_stream_infer", "goes on after an error", error_in_stream)
        table.row("grpc", "stop_stream", "", client.stop_stream)


def answer_of(done):
    result, error = done
    if error is not None:
        raise error
    return result


async def asynchronous(served):
    """Many at once, and a stream, by the asynchronous clients."""
    worst = {}
    parts = [slice(number % PICTURES, number % PICTURES + 1) for number in range(64)]
    for name, module, client in [
        ("http aio", triton_http, triton_http_aio.InferenceServerClient(served.http)),
        ("grpc aio", triton_grpc, triton_grpc_aio.InferenceServerClient(served.grpc)),
    ]:
        async with client:
            calls = [client.infer("m", served.tensors(module, part)) for part in parts]
            results = await asyncio.gather(*calls)
            pairs = zip(results, parts)
            worst[name, "infer", "64 at once"] = max(served.difference(*pair) for pair in pairs)
            if name == "grpc aio":

                async def requests():
                    for part in parts:
                        yield {"model_name": "m", "inputs": served.tensors(module, part)}

                answers = client.stream_infer(requests())
                results = [answer_of(done) async for done in answers]
                must(len(results) == len(parts), f"{len(results)} answers, expected {len(parts)}")
                pairs = zip(results, parts)
                key = (name, "stream_infer", "64 in one stream")
                worst[key] = max(served.difference(*pair) for pair in pairs)
    return worst


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--program", type=Path, default=TOP / "target/release/rift-runtime")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(arguments.program, arguments.model, Path(folder))
        try:
            table = Table()
            for name, module, make in [
                ("http", triton_http, lambda: triton_http.InferenceServerClient(served.http)),
                (
                    "http aio",
                    triton_http,
                    lambda: Blocking(lambda: triton_http_aio.InferenceServerClient(served.http)),
                ),
                ("grpc", triton_grpc, lambda: triton_grpc.InferenceServerClient(served.grpc)),
                (
                    "grpc aio",
                    triton_grpc,
                    lambda: Blocking(lambda: triton_grpc_aio.InferenceServerClient(served.grpc)),
                ),
            ]:
                client = make()
                as_json = {"as_json": True} if name.startswith("grpc") else {}
                describing(table, name, client, **as_json)
                inferring(table, name, client, module, served)
                client.close()
            many_at_once(table, served)
            for key, difference in asyncio.run(asynchronous(served)).items():
                table.row(*key, lambda: difference)
        finally:
            served.process.terminate()
            ended = served.process.wait()
    must(ended == 0, f"the server ended with {ended}")
    print(f"\n{'every answer is as it must be' if not table.failed else f'{table.failed} differ'}")
    sys.exit(1 if table.failed else 0)


if __name__ == "__main__":
    main()
