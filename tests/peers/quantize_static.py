"""Rift's int8 file beside the one that `onnxruntime.quantization.quantize_static` makes.

    rift-runtime gradient BUNDLE --out gradient.onnx
    .peers/bin/python tests/peers/quantize_static.py BUNDLE BUNDLE8 --gradient gradient.onnx \
        --data ../shared/data/cifar10 --limit 1000 [--json P]

Both start from the float file of BUNDLE, with U8 activations and S8 weights for each channel. Shown
are size, images per second (rounds in turn, best of each), the kernels that ONNX Runtime runs, and
the accuracy on the first `--limit` test images of CIFAR-10, as they are and after PGD-20 along the
float file's gradients, the same attacked images for all files; and how faithful each is on the images as
they are: the share that gets the float file's class, and the root mean square error of its logits. For both
accuracies it is said how many images only one of the two int8 files is right about. Without `--limit` (0)
only size and speed are measured, on noise. Exit code 1 where Rift's file is worse by more than one image in a
thousand.
"""

import argparse
import collections
import io
import json
import os
import tempfile
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet
from PIL import Image
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


def cifar10(folder, part, limit):
    """The first images of a part as float32 N×C×H×W in [0, 1], and their labels."""
    path = min(Path(folder).rglob(f"{part}-*.parquet"))
    table = pyarrow.parquet.read_table(path, columns=["img", "label"]).slice(0, limit)
    pictures = [Image.open(io.BytesIO(row["bytes"])) for row in table["img"].to_pylist()]
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    images = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return images, np.array(table["label"].to_pylist())


class Reader(CalibrationDataReader):
    def __init__(self, name, images, batch=16):
        parts = [images[i : i + batch] for i in range(0, len(images), batch)]
        self.parts = iter([{name: part} for part in parts])

    def get_next(self):
        return next(self.parts, None)


def session(path, threads, optimised=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits(running, images, batch=50):
    name = running.get_inputs()[0].name
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    return np.concatenate([running.run(None, {name: part})[0] for part in parts])


def softmax(x):
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


def pgd(float_file, gradient_file, images, labels, eps, step, steps, seed=0):
    """PGD on cross-entropy along the float file's gradients; the last iterate."""
    generator = np.random.default_rng(seed)
    noise = generator.uniform(-eps, eps, images.shape).astype(np.float32)
    adversarial = np.clip(images + noise, 0, 1)
    name = float_file.get_inputs()[0].name
    for _ in range(steps):
        for i in range(0, len(images), 50):
            part = slice(i, i + 50)
            x = adversarial[part]
            cotangent = softmax(float_file.run(None, {name: x})[0])
            cotangent[np.arange(len(x)), labels[part]] -= 1
            slope = gradient_file.run(["input_gradient"], {name: x, "cotangent": cotangent})[0]
            moved = np.clip(x + step * np.sign(slope), images[part] - eps, images[part] + eps)
            adversarial[part] = np.clip(moved, 0, 1)
    return adversarial


def throughput(paths, shape, batch, threads, rounds, seconds):
    """Images per second of each file: the rounds take turns, and the best one counts."""
    images = np.random.default_rng(1).random((batch, *shape), dtype=np.float32)
    running = {name: session(path, threads) for name, path in paths.items()}
    best = dict.fromkeys(paths, 0.0)
    for _ in range(rounds):
        for name, one in running.items():
            feed = {one.get_inputs()[0].name: images}
            one.run(None, feed)
            started, runs = time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                one.run(None, feed)
                runs += 1
            best[name] = max(best[name], batch * runs / (time.perf_counter() - started))
    return best


def kernels(path, folder):
    optimised = folder / "optimised.onnx"
    session(path, 1, optimised)
    counts = collections.Counter(node.op_type for node in onnx.load(optimised).graph.node)
    return {op: n for op, n in sorted(counts.items()) if op.startswith(("Q", "Conv", "Gemm", "Fused"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("bundle8", type=Path)
    parser.add_argument("--gradient", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--calibration-images", type=int, default=512)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--step", type=float, default=2 / 255)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    files = {"float32": settings.bundle / "model.onnx", "rift": settings.bundle8 / "model.onnx"}
    card = json.loads((settings.bundle / "card.json").read_text())
    shape = card["arch"]["input"]
    name = session(files["float32"], 1).get_inputs()[0].name
    if settings.limit:
        calibration, _ = cifar10(settings.data, "train", settings.calibration_images)
    else:
        calibration = np.random.default_rng(2).random((64, *shape), dtype=np.float32)
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(files["float32"]), str(prepared))
    files["quantize_static"] = folder / "int8.onnx"
    quantize_static(
        str(prepared), str(files["quantize_static"]), Reader(name, calibration), per_channel=True,
        quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )
    for path in files.values():
        onnx.checker.check_model(onnx.load(path), full_check=True)
    rows = {one: {"bytes": path.stat().st_size} for one, path in files.items()}
    speeds = throughput(
        files, shape, settings.batch, settings.threads, settings.rounds, settings.seconds
    )
    for one, path in files.items():
        rows[one]["size"] = rows[one]["bytes"] / rows["float32"]["bytes"]
        rows[one]["images_per_second"] = speeds[one]
        rows[one]["speed"] = speeds[one] / speeds["float32"]
        rows[one]["kernels"] = kernels(path, folder)
    if settings.limit:
        images, labels = cifar10(settings.data, "test", settings.limit)
        running = {one: session(path, settings.threads) for one, path in files.items()}
        gradient = session(settings.gradient, settings.threads)
        adversarial = pgd(
            running["float32"], gradient, images, labels, settings.eps, settings.step, settings.steps
        )
        exact = logits(running["float32"], images)
        verdicts = {}
        for one in files:
            found = logits(running[one], images)
            rows[one]["agreement"] = (found.argmax(1) == exact.argmax(1)).mean() * 100
            rows[one]["error"] = float(np.sqrt(((found - exact) ** 2).mean()))
            clean = found.argmax(1) == labels
            robust = clean & (logits(running[one], adversarial).argmax(1) == labels)
            rows[one]["clean"], rows[one]["robust"] = clean.mean() * 100, robust.mean() * 100
            verdicts[one] = {"clean": clean, "robust": robust}
    print(f"onnxruntime {onnxruntime.__version__}, batch {settings.batch}, {settings.threads} threads")
    for one, row in rows.items():
        figures = [f"{one:<16} {row['bytes']:>9} bytes ({row['size']:.4f})"]
        figures.append(f"{row['images_per_second']:8.1f} images/s ({row['speed']:.2f})")
        if settings.limit:
            figures.append(f"clean {row['clean']:.2f} %, PGD-{settings.steps} {row['robust']:.2f} %")
            figures.append(f"float's class {row['agreement']:.2f} %, logits off by {row['error']:.4f}")
        print(", ".join(figures))
        print(" " * 17 + ", ".join(f"{op} {n}" for op, n in row["kernels"].items()))
    if settings.json:
        settings.json.write_text(json.dumps(rows, indent=2) + "\n")
    if settings.limit:
        for what in ["clean", "robust"]:
            ours, theirs = verdicts["rift"][what], verdicts["quantize_static"][what]
            print(f"{what}: rift alone right about {(ours & ~theirs).sum()}, quantize_static about {(theirs & ~ours).sum()}")
        ours, theirs = rows["rift"], rows["quantize_static"]
        if any(ours[what] < theirs[what] - 0.1 for what in ["clean", "robust"]):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
