"""RobustBench's own networks, with random weights, through `rift-trainer import`.

    .peers/bin/python tests/peers/robustbench_import.py [--trainer target/release/rift-trainer] [NAME…]

Each network is built from the definition that RobustBench has of the model of this name (its wheel is
part of that of torchattacks), saved in the form of the published file, as far as that shows in
RobustBench's loader, and imported. Then Rift's logits of random images, as `rift-trainer eval` writes
them, are held against PyTorch's. Only the weights are not the published ones, which are on Google Drive.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import torch
from robustbench.model_zoo.architectures.resnet import PreActBlock, PreActBlockV2, PreActResNet, ResNet18
from robustbench.model_zoo.architectures.wide_resnet import WideResNet
from safetensors.torch import load_file
from torch import nn

TOP = Path(__file__).resolve().parents[2]
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
# Of the largest logit. A shortcut that reads the other input is off by 0.4 of it, a normalisation that is left
# out by 0.16.
TOLERANCE = 1e-5


def inside(network, statistics):
    """The network as RobustBench's classes have it that normalise by the buffers `mu` and `sigma`."""
    for name, values in zip(("mu", "sigma"), statistics):
        network.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
    network.register_forward_pre_hook(lambda n, x: ((x[0] - n.mu) / n.sigma,))
    return network


def preact(block=PreActBlock, **options):
    return PreActResNet(block, [2, 2, 2, 2], **options)


def without_statistics(state):
    """Of these files RobustBench's loader knows that the buffers are missing."""
    return {name: value for name, value in state.items() if name not in ("mu", "sigma")}


def last_of_two(state):
    """As Andriushchenko & Flammarion save it: two states, and the first layers in them twice."""
    again = {}
    for place, layer in enumerate(("conv1", "layer1.0.bn1"), 1):
        for name, value in state.items():
            if name.startswith(f"{layer}."):
                again[name.replace(layer, f"model_preact_hl1.{place}")] = value
    best = {name: torch.zeros_like(value) for name, value in state.items()}
    return {"best": best, "last": state | again}


def prefixed(prefix):
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


def wide(depth, **options):
    return WideResNet(depth=depth, widen_factor=10, **options)


def flags(statistics):
    return [f"--{name}={','.join(map(str, v))}" for name, v in zip(("mean", "std"), statistics)]


class Model(NamedTuple):
    """How a model is built, its name in Rift, how its state is saved, and what else `import` is told."""

    make: Callable
    arch: str
    save: Callable = lambda state: state
    told: list = []


MODELS = {
    "Wong2020Fast": Model(
        lambda: inside(preact(), CIFAR10),
        "preactresnet18-fast-at",
        without_statistics,
        flags(CIFAR10),
    ),
    "Andriushchenko2020Understanding": Model(preact, "preactresnet18-fast-at", last_of_two),
    "Rice2020Overfitting-L2": Model(
        lambda: inside(preact(PreActBlockV2, bn_before_fc=True), CIFAR10), "preactresnet18"
    ),
    "Rice2020Overfitting-CIFAR100": Model(
        lambda: inside(preact(num_classes=100, bn_before_fc=True, out_shortcut=True), CIFAR10),
        "preactresnet18",
        prefixed("module."),
    ),
    "Modas2021PRIMEResNet18": Model(lambda: inside(ResNet18(), CIFAR10), "resnet18"),
    "Carmon2019Unlabeled": Model(
        lambda: wide(28, sub_block1=True),
        "wrn28-10",
        lambda state: {"state_dict": prefixed("module.")(state)},
    ),
    # It normalises by `2 * x - 1`, which no buffer tells.
    "Hendrycks2019Using": Model(
        lambda: inside(wide(28), HALF),
        "wrn28-10",
        lambda state: prefixed("module.")(without_statistics(state)),
        flags(HALF),
    ),
    "Zhang2019Theoretically": Model(lambda: wide(34, sub_block1=True), "wrn34-10"),
    "Chen2020Efficient": Model(
        lambda: inside(wide(34, sub_block1=True), CIFAR10), "wrn34-10", prefixed("model.")
    ),
}


def randomise(network):
    """Gives every normalisation the statistics of a trained one, not those that change nothing."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return network.eval().requires_grad_(False)


def call(trainer, *words):
    done = subprocess.run([trainer, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"error: `rift-trainer {words[0]}` ends with {done.returncode}: {done.stderr.strip()}")


def compare(name, trainer, count, folder):
    """The largest difference of a logit, and the largest logit."""
    model = MODELS[name]
    torch.manual_seed(0)
    network = randomise(model.make())
    torch.save(model.save(network.state_dict()), folder / "published.pth")
    images = torch.rand(count, 3, 32, 32)
    classes = len(network(images[:1])[0])
    # The largest label tells Rift the number of classes.
    np.savez(folder / "images.npz", x=images.numpy(), y=classes - 1 - np.arange(count) % classes)
    checkpoint, probe = folder / "at.safetensors", folder / "probe.safetensors"
    call(trainer, "import", folder / "published.pth", "--arch", model.arch, *model.told, "--out", checkpoint)
    asked = ["--limit", count, "--attack", "none", "--probe", probe, "--quiet"]
    call(trainer, "eval", "--checkpoint", checkpoint, "--data", folder / "images.npz", *asked)
    ours = load_file(probe)
    assert torch.equal(ours["images"], images), "the probe holds other images"
    theirs = network(images)
    return (ours["logits"] - theirs).abs().max().item(), theirs.abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *MODELS], metavar="NAME")
    parser.add_argument("--trainer", type=Path, default=TOP / "target/release/rift-trainer")
    parser.add_argument("--limit", type=int, default=8, help="images")
    arguments = parser.parse_args()
    worst = 0.0
    for name in arguments.names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            off, largest = compare(name, arguments.trainer, arguments.limit, Path(folder))
        worst = max(worst, off / largest)
        print(f"{name:32} {MODELS[name].arch:22} off by {off:.1e}, largest logit {largest:.2f}", flush=True)
    sys.exit(int(worst > TOLERANCE))


if __name__ == "__main__":
    main()
