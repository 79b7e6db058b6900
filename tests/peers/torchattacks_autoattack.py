"""AutoAttack by torchattacks on a Rift checkpoint, to compare with `rift-runtime audit` of its bundle.

    .peers/bin/python tests/peers/torchattacks_autoattack.py CHECKPOINT.safetensors \
        --data ../shared/data/cifar10 --limit 200 --runtime target/release/rift-runtime \
        --model bundle [--attack apgd-ce,apgd-t,fab-t,square,autoattack] [--norm linf] \
        [--eps 8/255] [--json P]

Runs each attack alone on the same weights and the same first test images with both programs, and
prints robust accuracies, the images that they judge differently, and seconds. `fast` stands for
APGD-CE and then APGD-T, which torchattacks runs by its `MultiAttack`.
"""

import argparse
import json
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import torch
import torchattacks

from torchattacks_pgd import cifar10_test, judge, load_checkpoint


def peer(name, network, norm, eps, classes, queries):
    """The attack of torchattacks with AutoAttack's parameters."""
    norm = {"linf": "Linf", "l2": "L2"}[norm]
    targets = {"n_classes": classes}
    apgd_ce = lambda: torchattacks.APGD(network, norm=norm, eps=eps, steps=100, loss="ce")
    apgd_t = lambda: torchattacks.APGDT(network, norm=norm, eps=eps, steps=100, **targets)
    if name == "apgd-ce":
        return apgd_ce()
    if name == "apgd-dlr":
        return torchattacks.APGD(network, norm=norm, eps=eps, steps=100, loss="dlr")
    if name == "apgd-t":
        return apgd_t()
    if name == "fab-t":
        return torchattacks.FAB(
            network, norm=norm, eps=eps, steps=100, n_restarts=1, multi_targeted=True, **targets
        )
    if name == "square":
        return torchattacks.Square(network, norm=norm, eps=eps, n_queries=queries, n_restarts=1,
                                    resc_schedule=False)
    if name == "fast":
        return torchattacks.MultiAttack([apgd_ce(), apgd_t()])
    return torchattacks.AutoAttack(network, norm=norm, eps=eps, version="standard", **targets)


def audit(arguments, name, spread):
    """The samples and seconds of `rift-runtime audit`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.json"
        command = [arguments.runtime, "audit", arguments.model, "--data", arguments.data]
        command += ["--limit", arguments.limit, "--attack", name, "--norm", arguments.norm]
        command += ["--eps", arguments.eps, "--json", path, "--quiet", *spread]
        if name == "square":
            command += ["--queries", arguments.queries]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        report = json.loads(path.read_text())
    robust = torch.tensor([s["adversarial_prediction"] == s["label"] for s in report["samples"]])
    stages = {attack["name"]: attack["robust"]["fraction"] for attack in report["attacks"]}
    return robust, sum(attack["seconds"] for attack in report["attacks"]), stages


def attack(build, network, images, labels, batch):
    """Whether each image survives, correct ones alone attacked as AutoAttack does, and seconds."""
    robust = judge(network, images, labels, batch)
    right = robust.nonzero().squeeze(1)
    started = time.perf_counter()
    for rows in right.split(batch):
        torch.manual_seed(0)
        adversarial = build()(images[rows], labels[rows])
        robust[rows] = judge(network, adversarial, labels[rows], batch)
    return robust, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--runtime", type=Path, default=Path("target/release/rift-runtime"))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--norm", choices=["linf", "l2"], default="linf")
    parser.add_argument("--eps", default="8/255")
    parser.add_argument("--attack", default="apgd-ce,apgd-t,fab-t,square,autoattack")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = load_checkpoint(arguments.checkpoint).eval()
    images, labels = cifar10_test(arguments.data, arguments.limit)
    eps = float(Fraction(arguments.eps))
    classes = network(images[:1]).shape[1]
    rows = []
    print(f"{'attack':<11} {'rift':>8} {'peer':>8} {'differ':>7} {'rift s':>8} {'peer s':>8}")
    for name in arguments.attack.split(","):
        ours, seconds, stages = audit(arguments, name, ["--threads", arguments.threads])
        build = lambda: peer(name, network, arguments.norm, eps, classes, arguments.queries)
        theirs, their_seconds = attack(build, network, images, labels, arguments.batch)
        row = {
            "attack": name,
            "rift": ours.float().mean().item(),
            "torchattacks": theirs.float().mean().item(),
            "images_judged_differently": (ours != theirs).sum().item(),
            "rift_seconds": seconds,
            "torchattacks_seconds": their_seconds,
            "rift_stages": stages,
        }
        rows.append(row)
        print(
            f"{name:<11} {row['rift']:8.2%} {row['torchattacks']:8.2%} "
            f"{row['images_judged_differently']:7d} {seconds:8.1f} {their_seconds:8.1f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
