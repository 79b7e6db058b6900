"""Images per second of the trainer and the runtime on this machine, beside PyTorch's.

    python3 tests/bench/bench.py [--rounds 3] [--threads N] [--batch 64] [--archs resnet20,resnet18]

Every round runs all programs one after the other, in an order that alternates, so that a machine
that warms up or is shared favours nobody; a ratio is taken within a round, and its spread is over
the rounds. PyTorch runs eagerly, in float32, with frozen parameters, from the virtual environment
that `tests/peers/setup.sh` makes; without it the ratios are left out, and that is said.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
PEERS = ROOT / ".peers" / "bin" / "python"
# What is measured: its name, whose it is, where it is in that program's JSON, the peer's name of it
# and the least ratio that is aimed at.
MEASURES = [
    ("trainer, forward + input gradient", "trainer", "forward_and_input_gradient", "gradient", 1.0),
    ("trainer, AT step with PGD-10", "trainer", "at_step_pgd10", "at_step", None),
    ("runtime, forward", "runtime", "forward", "forward", None),
    ("runtime, forward + input gradient", "runtime", "forward_and_gradient", "gradient", 0.9),
]


def call(command):
    """Runs a program to its end and returns what it prints, which is shown only if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def export(arch, folder):
    """A bundle of `arch` with the weights of its golden, made by the real exporter."""
    call(["cargo", "run", "--quiet", "--release", "-p", "rift-tests", "--bin", "golden", arch, folder])
    checkpoint, probe = folder / "checkpoint.safetensors", folder / "probe.safetensors"
    export = [PROGRAMS / "rift-exporter", "export", "--checkpoint", checkpoint, "--probe", probe]
    # Formula weights give logits far from 1, for which the usual tolerance is not meant.
    call([*export, "--tolerance", "0.1", "--out", folder / "bundle"])
    return folder / "bundle"


def one_round(arch, bundle, arguments, folder, backwards):
    """The JSON of each program, all run once."""
    size = ["--threads", arguments.threads]
    trainer = [PROGRAMS / "rift-trainer", "bench", "--arch", arch, "--batch-size", arguments.batch]
    commands = {
        "trainer": [*trainer, *size, "--repeat", "3", "--quiet"],
        "runtime": [PROGRAMS / "rift-runtime", "bench", bundle, *size, "--batch-size", "16", "--quiet"],
    }
    if PEERS.exists():
        peer = [PEERS, ROOT / "tests" / "peers" / "bench_training.py", "--arch", arch]
        commands["peer"] = [*peer, "--batch", arguments.batch, *size]
    results = {}
    for name in sorted(commands, reverse=backwards):
        path = folder / f"{name}.json"
        call([*commands[name], "--json", path])
        results[name] = json.loads(path.read_text())
    results["runtime"] = results["runtime"]["runs"][0]
    return results


def spread(values, digits):
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def report(arch, rounds):
    """Prints a row a measure."""
    for name, program, key, peer, target in MEASURES:
        ours = [result[program][key]["median"] for result in rounds]
        row = f"{arch:<9} {name:<34} {spread(ours, 1):>28}"
        if "peer" in rounds[0]:
            theirs = [result["peer"]["images_per_second"][peer] for result in rounds]
            ratios = [a / b for a, b in zip(ours, theirs)]
            row += f" {spread(theirs, 1):>28} {spread(ratios, 2):>22}"
            if target:
                met = "met" if statistics.median(ratios) >= target else "missed"
                row += f"  target {target}: {met}"
        print(row, flush=True)


def criticality(arguments):
    """Prints what the criticality of all modules of ResNet-18 costs beside the reference's way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "criticality.json"
        command = [PROGRAMS / "rift-trainer", "bench-criticality", "--arch", "resnet18", "--quiet"]
        command += ["--limit", arguments.criticality, "--batch-size", arguments.criticality]
        call([*command, "--threads", arguments.threads, "--repeat", "1", "--json", path])
        found = json.loads(path.read_text())
    ours, reference = found["seconds"][0], found["reference_seconds"][0]
    met = "met" if found["ratio"] >= 2.5 else "missed"
    print(
        f"resnet18  criticality, {found['modules']} modules, {found['n']} images: {ours:.1f} s; the whole "
        f"network in every pass, as the reference: {reference:.1f} s; {found['ratio']:.2f} times less  "
        f"target 2.5: {met}"
    )


def corruptions(rounds):
    """Milliseconds an image of the common corruptions on one core, beside the published programs."""
    data = ROOT.parent / "shared" / "data" / "cifar10"
    if not data.exists():
        print(f"skipped: common corruptions, for there is no {data}")
        return
    ours = ["cargo", "run", "--quiet", "--release", "-p", "rift-tests", "--bin", "corruptions", "--", "speed", data]
    theirs = [PEERS, ROOT / "tests" / "peers" / "corruptions.py", "speed", "--data", data, "--sizes"]
    print("\nCommon corruptions, milliseconds an image on one core, summed over all 19 and without glass blur")
    for size in ("32", "64"):
        times = []
        for _ in range(rounds):
            pair = [[*ours, size]] + ([[*theirs, size]] if PEERS.exists() else [])
            found = [json.loads(call(command)) for command in pair]
            without = [sum(of[size] for name, of in one.items() if name != "glass_blur") for one in found]
            times.append([(sum(of[size] for of in one.values()), rest) for one, rest in zip(found, without)])
        for which, name in enumerate(("all", "without glass blur")):
            row = f"{size}x{size:<6} {name:<34} {spread([pair[0][which] for pair in times], 2):>28}"
            if PEERS.exists():
                row += f" {spread([pair[1][which] for pair in times], 2):>28}"
                row += f" {spread([pair[1][which] / pair[0][which] for pair in times], 2):>22}  target 5"
            print(row, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=64, help="images in a batch of trainer and PyTorch")
    parser.add_argument("--archs", default="resnet20,resnet18")
    parser.add_argument(
        "--criticality", type=int, default=32, help="images for the cost of criticality; 0 leaves it out"
    )
    arguments = parser.parse_args()
    if not PEERS.exists():
        print("skipped: PyTorch beside it, for there is no .peers: tests/peers/setup.sh makes it")
    print(
        f"float32, {arguments.threads} threads, batches of {arguments.batch}; the runtime takes its own "
        f"batches. Images per second: median (lowest to highest) of {arguments.rounds} rounds"
    )
    print(f"{'':<9} {'':<34} {'Rift':>28} {'PyTorch':>28} {'ratio':>22}")
    for arch in arguments.archs.split(","):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            bundle = export(arch, folder)
            count = range(arguments.rounds)
            rounds = [one_round(arch, bundle, arguments, folder, i % 2 == 1) for i in count]
        report(arch, rounds)
    if arguments.criticality:
        criticality(arguments)
    corruptions(arguments.rounds)


if __name__ == "__main__":
    main()
