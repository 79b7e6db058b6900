"""PGD by torchattacks on a bundle or its checkpoint, to compare with `rift-runtime audit` of the bundle.

    .peers/bin/python tests/peers/torchattacks_pgd.py BUNDLE|CHECKPOINT.safetensors \
        --data ../shared/data/cifar10 --limit 500 [--audit audit.json] [--json P]

Reads CIFAR-10 as the Parquet files of `uoft-cs/cifar10`, in the order of the file, so the images
are those of `--split test --limit N`. With `--audit` it also compares image by image.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch
import torchattacks
from PIL import Image

from saved_networks import load_network


def cifar10_test(folder, limit):
    """The first `limit` test images as float32 N×C×H×W in [0, 1], and their labels."""
    (path,) = folder.rglob("test-*.parquet")
    table = pyarrow.parquet.read_table(path, columns=["img", "label"]).slice(0, limit)
    pictures = [Image.open(io.BytesIO(row["bytes"])) for row in table["img"].to_pylist()]
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    return images, torch.tensor(table["label"].to_pylist())


def judge(network, images, labels, batch):
    """Whether each image is classified correctly."""
    with torch.no_grad():
        parts = zip(images.split(batch), labels.split(batch))
        return torch.cat([network(x).argmax(1) == y for x, y in parts])


def percent(verdicts):
    return f"{verdicts.float().mean().item() * 100:.2f} %"


def compare(audit, clean, robust):
    """Prints how the audit of the same images judged them."""
    samples = audit["samples"]
    assert len(samples) == len(robust), f"the audit has {len(samples)} images"
    theirs = torch.tensor([s["adversarial_prediction"] == s["label"] for s in samples])
    clean_theirs = torch.tensor([s["clean_prediction"] == s["label"] for s in samples])
    difference = (robust.float().mean() - theirs.float().mean()).abs().item() * 100
    print(f"rift-runtime:  clean {percent(clean_theirs)}, robust {percent(theirs)}")
    print(
        f"robust accuracies differ by {difference:.2f} points; {(robust != theirs).sum().item()} "
        f"images judged differently, {(clean != clean_theirs).sum().item()} when clean"
    )
    return difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path, help="a bundle or a checkpoint")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--step", type=float, default=2 / 255)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--audit", type=Path, help="an audit.json of the same images")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = load_network(arguments.network)
    images, labels = cifar10_test(arguments.data, arguments.limit)
    attack = torchattacks.PGD(network, arguments.eps, arguments.step, arguments.steps)
    parts = zip(images.split(arguments.batch), labels.split(arguments.batch))
    adversarial = torch.cat([attack(x, y) for x, y in parts])
    clean = judge(network, images, labels, arguments.batch)
    robust = judge(network, adversarial, labels, arguments.batch) & clean
    print(f"torchattacks:  clean {percent(clean)}, robust {percent(robust)}, n {len(labels)}")
    result = {
        "program": f"torchattacks {torchattacks.__version__}, torch {torch.__version__}",
        "n": len(labels),
        "clean_accuracy": clean.float().mean().item(),
        "robust_accuracy": robust.float().mean().item(),
    }
    if arguments.audit:
        result["difference"] = compare(json.loads(arguments.audit.read_text()), clean, robust)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
