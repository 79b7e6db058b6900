"""Seconds of PGD by torchattacks, foolbox and the Adversarial Robustness Toolbox, for `make bench`.

    .peers/bin/python tests/peers/bench_attacks.py attack BUNDLE --library foolbox --data CIFAR10 --json P
    .peers/bin/python tests/peers/bench_attacks.py images BUNDLE --out images.npz

`attack` takes the weights out of the bundle's ONNX file, so that `rift-runtime audit` attacks the same
network, and attacks the images that are classified correctly: L∞ 8/255, step 2/255, one random start,
every image through all steps. `images` makes up images where there is no CIFAR-10, and labels
them as the network does, so that all of them are attacked.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from saved_networks import load_network
from torchattacks_pgd import cifar10_test, judge

EPS, STEP = 8 / 255, 2 / 255


def images_and_labels(data, limit):
    """The first test images of CIFAR-10, or those of an `.npz` with `x` and `y`."""
    if data.suffix != ".npz":
        return cifar10_test(data, limit)
    file = np.load(data)
    return torch.from_numpy(file["x"][:limit]), torch.from_numpy(file["y"][:limit])


def torchattacks_pgd(network, steps):
    """Its name with version, and an attack from images and labels to images."""
    import torchattacks

    return f"torchattacks {torchattacks.__version__}", torchattacks.PGD(network, EPS, STEP, steps)


def foolbox_pgd(network, steps):
    """As `torchattacks_pgd`."""
    import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=steps, random_start=True)

    def run(images, labels):
        return attack.run(model, images, foolbox.criteria.Misclassification(labels), epsilon=EPS)

    return f"foolbox {foolbox.__version__}", run


def art_pgd(network, steps):
    """As `torchattacks_pgd`."""
    import art
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        network, torch.nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0, 1), device_type="cpu"
    )

    def run(images, labels):
        attack = ProjectedGradientDescent(
            classifier,
            eps=EPS,
            eps_step=STEP,
            max_iter=steps,
            num_random_init=1,
            batch_size=len(images),
            verbose=False,
        )
        return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    return f"adversarial-robustness-toolbox {art.__version__}", run


LIBRARIES = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd, "art": art_pgd}


def attack(arguments):
    """Attacks, and writes the seconds of the attack alone."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    np.random.seed(0)
    network = load_network(arguments.bundle)
    images, labels = images_and_labels(arguments.data, arguments.limit)
    program, run = LIBRARIES[arguments.library](network, arguments.steps)
    clean = judge(network, images, labels, arguments.batch)
    rows = clean.nonzero().squeeze(1)
    # A batch that does not count.
    run(images[rows[:10]], labels[rows[:10]])
    started = time.perf_counter()
    parts = [run(images[part], labels[part]) for part in rows.split(arguments.batch)]
    seconds = time.perf_counter() - started
    moved = (torch.cat(parts) - images[rows]).abs().max().item()
    assert moved <= EPS + 1e-6, f"an image moved by {moved}"
    robust = judge(network, torch.cat(parts), labels[rows], arguments.batch).sum().item()
    result = {
        "program": f"{program}, torch {torch.__version__}",
        "n": len(labels),
        "attacked": len(rows),
        "clean_accuracy": len(rows) / len(labels),
        "robust_accuracy": robust / len(labels),
        "seconds": seconds,
        "gradients_per_second": len(rows) * arguments.steps / seconds,
    }
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def images(arguments):
    """Writes made-up images."""
    network = load_network(arguments.bundle)
    x = torch.rand(arguments.limit, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = network(x).argmax(1)
    np.savez(arguments.out, x=x.numpy(), y=y.numpy())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for run in (attack, images):
        sub = commands.add_parser(run.__name__, help=run.__doc__.splitlines()[0])
        sub.set_defaults(run=run)
        sub.add_argument("bundle", type=Path)
        sub.add_argument("--limit", type=int, default=200)
        if run is images:
            sub.add_argument("--out", type=Path, required=True)
            continue
        sub.add_argument("--library", choices=LIBRARIES, required=True)
        sub.add_argument("--data", type=Path, required=True)
        sub.add_argument("--steps", type=int, default=20)
        sub.add_argument("--batch", type=int, default=100)
        sub.add_argument("--threads", type=int, default=torch.get_num_threads())
        sub.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
