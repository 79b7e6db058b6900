"""Seconds of PGD by `rift-runtime audit` and by torchattacks, on the same weights and images.

    .peers/bin/python tests/bench/attack.py CHECKPOINT.safetensors BUNDLE --data CIFAR10 \
        [--limit 200] [--steps 20] [--rounds 3] [--threads 2] [--provider cpu] [--precision float32]

Only images that are classified correctly are attacked, by both. Every round runs both programs one
after the other, in an order that alternates, and a ratio is taken within a round, so a machine that
warms up or is shared favours nobody. `all steps` is `--no-early-stop`: every image goes through all
steps, as it does in torchattacks; by default an image that is broken stops. Times are those of the
attack alone: neither counts its start or the reading of the images.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchattacks

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
sys.path.insert(0, str(ROOT / "tests" / "peers"))
from torchattacks_pgd import cifar10_test, judge, load_checkpoint

EPS, STEP = 8 / 255, 2 / 255
# The least ratios that are aimed at, on the CPU provider: all steps, and by default.
TARGETS = {"resnet20": (1.3, 2.2), "resnet18": (1.05, 1.8)}


def rift(arguments, more):
    """The report of an audit by PGD."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.json"
        command = [arguments.runtime, "audit", arguments.bundle, "--data", arguments.data, "--quiet"]
        command += ["--limit", arguments.limit, "--steps", arguments.steps, "--eps", "8/255"]
        command += ["--step", "2/255", "--threads", arguments.threads, "--json", path]
        if arguments.provider != "cpu":
            command += ["--provider", arguments.provider, "--precision", arguments.precision]
        subprocess.run([str(p) for p in [*command, *more]], check=True, stdout=subprocess.DEVNULL)
        return json.loads(path.read_text())


def peer(network, images, labels, arguments):
    """Robust images and seconds of torchattacks."""
    attack = torchattacks.PGD(network, EPS, STEP, arguments.steps)
    robust = judge(network, images, labels, arguments.batch)
    rows = robust.nonzero().squeeze(1)
    started = time.perf_counter()
    parts = [attack(images[part], labels[part]) for part in rows.split(arguments.batch)]
    seconds = time.perf_counter() - started
    robust[rows] = judge(network, torch.cat(parts), labels[rows], arguments.batch)
    return robust.sum().item(), len(rows), seconds


def multiplications(network, image):
    """Multiplications and additions of a forward pass in convolutions and linear layers."""
    count = 0

    def hook(module, _, output):
        nonlocal count
        weights = module.weight.numel()
        positions = output[0, 0].numel() if output.dim() == 4 else 1
        count += 2 * weights * positions

    layers = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    network(image)
    for handle in handles:
        handle.remove()
    return count


def matrix_rate():
    """Multiplications and additions per second of a large product of matrices in float32."""
    a, b = torch.rand(1536, 1536), torch.rand(1536, 1536)
    rates = []
    for _ in range(4):
        started = time.perf_counter()
        a @ b
        rates.append(2 * 1536**3 / (time.perf_counter() - started))
    return max(rates)


def spread(values):
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def one_round(network, images, labels, arguments, backwards):
    """Both programs once; the seconds and robust images of each."""
    row = {"rate": matrix_rate()}
    jobs = {
        "all steps": lambda: rift(arguments, ["--no-early-stop"]),
        "default": lambda: rift(arguments, []),
        "peer": lambda: peer(network, images, labels, arguments),
    }
    for name in sorted(jobs, reverse=backwards):
        row[name] = jobs[name]()
        seconds = row[name][2] if name == "peer" else row[name]["attacks"][0]["seconds"]
        print(f"  {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return row


def report(rounds, arguments, network, images):
    """Prints a row a way to run, and returns the figures."""
    n = arguments.limit
    flops = 3 * multiplications(network, images[:1])
    peer_robust, attacked, _ = rounds[0]["peer"]
    figures = {"n": n, "attacked": attacked, "torchattacks_robust": peer_robust / n}
    targets = TARGETS.get(arguments.arch, (None, None))
    if arguments.provider != "cpu":
        targets = (None, None)
    for name, target in zip(("all steps", "default"), targets):
        attack = [r[name]["attacks"][0] for r in rounds]
        ratios = [r["peer"][2] / a["seconds"] for r, a in zip(rounds, attack)]
        rates = [a["gradients"] / a["seconds"] for a in attack]
        share = [rate * flops / r["rate"] for rate, r in zip(rates, rounds)]
        robust = rounds[0][name]["robust_accuracy"]
        met = "" if target is None else f"  target {target}: "
        met += "" if target is None else ("met" if statistics.median(ratios) >= target else "missed")
        print(
            f"{name:<10} {spread(ratios):>22} x torchattacks, {statistics.median(rates):.0f} gradients"
            f"/s, {statistics.median(share):.0%} of the matrix product's rate, robust {robust:.2%}"
            f" (torchattacks {peer_robust / n:.2%}){met}",
            flush=True,
        )
        figures[name] = {"ratios": ratios, "gradients_per_second": rates, "robust": robust}
    theirs = [attacked * arguments.steps / r["peer"][2] for r in rounds]
    print(f"torchattacks: {statistics.median(theirs):.0f} gradients/s")
    figures["torchattacks_gradients_per_second"] = theirs
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runtime", type=Path, default=PROGRAMS / "rift-runtime")
    parser.add_argument("--arch", default="resnet20", help="whose targets hold")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=100, help="images in a batch of torchattacks")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = load_checkpoint(arguments.checkpoint).eval()
    images, labels = cifar10_test(arguments.data, arguments.limit)
    peer(network, images[:20], labels[:20], arguments)
    order = range(arguments.rounds)
    rounds = [one_round(network, images, labels, arguments, i % 2 == 1) for i in order]
    figures = report(rounds, arguments, network, images)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
