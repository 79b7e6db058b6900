"""Writes what PyTorch makes of the reference networks: `tests/parity/goldens/NAME.safetensors`.

    .peers/bin/python tests/peers/goldens.py [--full FOLDER] [NAME…]

Weights and images come from a closed formula (`formula.py`), so a golden holds only the logits and
the gradient of the summed cross-entropy with respect to the pixels, computed in float64. `--full`
also writes weights and images, as files that any program can read.

A ReLU whose input is zero but for rounding has one gradient or another depending on the order of a
sum. So the images are drawn again and again until no such input comes near: the golden's seed is
the one, of `SEEDS`, whose smallest |input| / rms(input) over all ReLUs is the largest.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import formula
import reference_networks

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
# Name of the golden: architecture, side of the image, classes, images.
GOLDENS = {
    "resnet20": ("resnet20", 32, 10, 2),
    "resnet18": ("resnet18", 32, 10, 2),
    "resnet34": ("resnet34", 32, 10, 1),
    "resnet18-64": ("resnet18", 64, 200, 1),
    "preactresnet18": ("preactresnet18", 32, 10, 1),
    "preactresnet18-fast-at": ("preactresnet18-fast-at", 32, 10, 1),
    "wrn34-10": ("wrn34-10", 32, 10, 1),
}
SEEDS = 12


def load_formula(network):
    """Gives the network the weights of the formula, by the rank of a name among all names."""
    state = network.state_dict()
    names = sorted(name for name in state if not name.endswith("num_batches_tracked"))
    for index, name in enumerate(names):
        values = formula.parameter(index, name, tuple(state[name].shape))
        state[name] = torch.from_numpy(values)
    network.load_state_dict(state)


def smallest_relu_input(network, images):
    """The smallest |input| of any ReLU, relative to the root mean square of its layer."""
    smallest = float("inf")
    relu = F.relu

    def watch(x):
        nonlocal smallest
        smallest = min(smallest, (x.abs().min() / x.square().mean().sqrt()).item())
        return relu(x)

    F.relu = watch
    try:
        with torch.no_grad():
            network(images)
    finally:
        F.relu = relu
    return smallest


def logits_and_gradient(network, images, labels):
    images = images.clone().requires_grad_(True)
    logits = network(images)
    F.cross_entropy(logits, labels, reduction="sum").backward()
    return logits.detach(), images.grad


def relative(a, b):
    """‖a − b‖ / ‖b‖."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def write(name, folder, full):
    arch, size, classes, count = GOLDENS[name]
    network = reference_networks.build(arch, size, classes, MEAN, STD)
    load_formula(network)
    shape = (count, len(MEAN), size, size)
    draw = lambda seed: torch.from_numpy(formula.images(seed, shape))
    precise = reference_networks.build(arch, size, classes, MEAN, STD).double()
    precise.load_state_dict(network.state_dict())
    margins = {s: smallest_relu_input(precise, draw(s).double()) for s in range(SEEDS)}
    seed = max(margins, key=margins.get)
    images = draw(seed)
    labels = torch.arange(count) * 7 % classes
    logits, gradient = logits_and_gradient(precise, images.double(), labels)
    single = logits_and_gradient(network, images, labels)
    print(
        f"{name}: seed {seed}, smallest ReLU input {margins[seed]:.1e}; float32 PyTorch is off by "
        f"{relative(single[0], logits):.1e} (logits), {relative(single[1], gradient):.1e} (gradient)"
    )
    spec = {"name": arch, "input": shape[1:], "classes": classes, "mean": MEAN, "std": STD}
    metadata = {"arch": json.dumps(spec), "seed": str(seed), "torch": torch.__version__}
    expected = {
        "labels": labels.float(),
        "logits": logits.float(),
        "gradient": gradient.float().contiguous(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(expected, folder / f"{name}.safetensors", metadata)
    if full:
        full.mkdir(parents=True, exist_ok=True)
        state = {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}
        save_file({"images": images, **expected}, full / f"{name}.golden.safetensors", metadata)
        save_file(state, full / f"{name}.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("names", nargs="*", choices=[[], *GOLDENS], metavar="NAME")
    parser.add_argument("--out", type=Path, default=here.parent / "parity" / "goldens")
    parser.add_argument("--full", type=Path, help="a folder for weights and images")
    arguments = parser.parse_args()
    for name in arguments.names or GOLDENS:
        write(name, arguments.out, arguments.full)


if __name__ == "__main__":
    main()
