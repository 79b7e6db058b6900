"""Module robust criticality in plain PyTorch, to compare with `rift-trainer mrc`.

    .peers/bin/python tests/peers/mrc.py CHECKPOINT.safetensors --data CIFAR10 --mrc mrc.json

Follows algorithm 1 of arXiv 2308.02533: adversarial images by PGD at the network's own weights, then,
module by module, T steps of ascent on the mean loss over all of them, each followed by a projection
onto the ball of 0.1 times the norm of the module's weights; the whole network is run in every pass,
in evaluation mode, and only the weights of convolutions and linear layers count. The paper names no
learning rate. Here a step is as long as half of the radius (`--rate normalized`) or the
gradient itself (`--rate 1`, as the authors' code has it).

Takes the first `--limit` images of the data set's training files, which need not be those that Rift
draws its training split from: what is compared is the order of the modules.
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
from torch.nn import functional as F

from saved_networks import load_network


def cifar10_train(folder, skip, limit):
    """`limit` training images after the first `skip`, as N×C×H×W in [0, 1], and their labels."""
    paths = sorted(folder.rglob("train-*.parquet"))
    tables = [pyarrow.parquet.read_table(path, columns=["img", "label"]) for path in paths]
    table = pyarrow.concat_tables(tables).slice(skip, limit)
    pictures = [Image.open(io.BytesIO(row["bytes"])) for row in table["img"].to_pylist()]
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    return images, torch.tensor(table["label"].to_pylist())


def loss_and_gradient(network, batches, weight=None):
    """The mean loss over all images, and its gradient with respect to one weight."""
    total, count, gradient = 0.0, 0, None
    for images, labels in batches:
        with torch.set_grad_enabled(weight is not None):
            loss = F.cross_entropy(network(images), labels, reduction="sum")
        if weight is not None:
            (grown,) = torch.autograd.grad(loss, weight)
            gradient = grown if gradient is None else gradient + grown
        total, count = total + loss.item(), count + len(labels)
    return total / count, None if gradient is None else gradient / count


def criticality(network, module, batches, start, arguments):
    """The largest rise of the loss on the way of one module's weights."""
    weight = module.weight
    original = weight.detach().clone()
    radius = arguments.radius * original.norm()
    weight.requires_grad_(True)
    largest = 0.0
    _, gradient = loss_and_gradient(network, batches, weight)
    for step in range(arguments.steps):
        with torch.no_grad():
            if arguments.rate == "normalized":
                gradient = gradient / gradient.norm() * radius / 2
            else:
                gradient = gradient * float(arguments.rate)
            delta = weight - original + gradient
            delta *= (radius / delta.norm()).clamp(max=1)
            weight.copy_(original + delta)
        last = step + 1 == arguments.steps
        loss, gradient = loss_and_gradient(network, batches, None if last else weight)
        if not np.isfinite(loss):
            raise SystemExit(f"error: the loss of a step is {loss}")
        largest = max(largest, loss - start)
    with torch.no_grad():
        weight.copy_(original)
    weight.requires_grad_(False)
    return largest


def ranks(values):
    """The rank of each value; the mean rank where values are equal."""
    values = np.asarray(values)
    below = (values[None] < values[:, None]).sum(1)
    return below + (values[None] == values[:, None]).sum(1) / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mrc", type=Path, help="an mrc.json to compare with")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--radius", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rate", default="normalized")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = load_network(arguments.checkpoint)
    images, labels = cifar10_train(arguments.data, arguments.skip, arguments.limit)
    attack = torchattacks.PGD(network, arguments.eps, arguments.eps / 4, 10)
    parts = zip(images.split(arguments.batch), labels.split(arguments.batch))
    batches = [(attack(x, y), y) for x, y in parts]
    start, _ = loss_and_gradient(network, batches)
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    modules = {name: m for name, m in network.named_modules() if isinstance(m, kinds)}
    found = {}
    for name, module in modules.items():
        found[name] = criticality(network, module, batches, start, arguments)
        print(f"{name:<24} {found[name]:9.4f}", flush=True)
    print(f"n {len(labels)}, loss {start:.4f}, {arguments.steps} steps, rate {arguments.rate}")
    result = {"n": len(labels), "loss": start, "rate": arguments.rate, "mrc": found}
    if arguments.mrc:
        report = json.loads(arguments.mrc.read_text())
        theirs = {row["module"]: row["mrc"] for row in report["rows"]}
        assert theirs.keys() == found.keys(), theirs.keys() ^ found.keys()
        pair = [ranks([values[name] for name in found]) for values in (found, theirs)]
        result["rank_correlation"] = float(np.corrcoef(*pair)[0, 1])
        least = [min(values, key=values.get) for values in (found, theirs)]
        print(f"rank correlation with {arguments.mrc}: {result['rank_correlation']:.3f}")
        print(f"least critical: {least[0]} here, {least[1]} there")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
