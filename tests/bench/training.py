"""A step of adversarial training, in images per second, beside PyTorch's.

    python3 tests/bench/training.py [--rounds 3] [--batches 128] [--archs resnet18] [--json P]

A step is PGD-10 in evaluation mode and one step of SGD on the images that it found. Rift, in bf16
and in float32, is held against two PyTorch programs: one that crafts as the reference repositories
do (float32, eager, gradients of all parameters), and a tuned one (bf16 autocast, channels-last,
frozen parameters; on a GPU `torch.compile` and cuDNN's benchmark mode too).

Every round runs all programs one after the other, in an order that alternates, so that a machine
that is shared favours nobody; a ratio is taken within a round, and its spread is over the rounds.
With `--json` what is done is kept after every round and not done again.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RIFT = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "rift-trainer"
PEERS = ROOT / ".peers" / "bin" / "python"
# Whom Rift's bf16 is held against, the least ratio of images per second and the most of memory.
TARGETS = {"reference": (3.0, 1.2), "tuned": (1.0, 1.2)}


def call(command, deadline):
    """Runs a program to its end; what it prints is shown only if it fails."""
    left = None if deadline is None else max(deadline - time.monotonic(), 1)
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=left)
    except subprocess.TimeoutExpired:
        return "timeout"
    if done.returncode != 0:
        print(f"failed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}", file=sys.stderr)
        return "out of memory" if re.search("out of memory", done.stderr, re.I) else "failed"
    return None


def commands(arguments, arch, batch):
    """The programs by name."""
    size = ["--arch", arch, "--device", arguments.device, "--threads", arguments.threads]
    rift = [arguments.program, "bench", *size, "--batch-size", batch, "--measures", "at-step", "--quiet"]
    peer = [arguments.python, ROOT / "tests" / "peers" / "bench_training.py", *size]
    peer += ["--batch", batch, "--measures", "at_step", "--seconds", arguments.seconds]
    repeat = ["--repeat", arguments.repeat]
    tuned = ["--way", "tuned"]
    if arguments.compile:
        # The first runs compile, once for the crafting and once for the training.
        tuned += ["--compile", "--warm", "2"]
    found = {
        "rift, bf16": [*rift, *repeat, "--precision", "bf16"],
        "rift, float32": [*rift, *repeat, "--precision", "float32"],
        "tuned": [*peer, *tuned],
        "reference": [*peer, "--way", "reference"],
    }
    return {name: command for name, command in found.items() if name in arguments.programs}


def figures(result):
    """Images per second and peak memory from either program's JSON."""
    if "at_step_pgd10" in result:
        return {"rate": result["at_step_pgd10"]["median"], "memory": result.get("peak_memory")}
    memory = result.get("peak_memory") or None
    return {
        "rate": result["images_per_second"]["at_step"],
        "memory": memory,
        "device_memory": result.get("peak_device_memory"),
    }


def one_round(arguments, arch, batch, backwards, deadline):
    """The figures of each program, all run once; nothing where the time is up."""
    results = {}
    todo = commands(arguments, arch, batch)
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(todo, reverse=backwards):
            path = Path(folder) / "result.json"
            path.unlink(missing_ok=True)
            problem = call([*todo[name], "--json", path], deadline)
            if problem == "timeout":
                return None
            results[name] = {"problem": problem} if problem else figures(json.loads(path.read_text()))
    return results


def spread(values, digits):
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def column(rounds, name, key):
    """A figure of a program over the rounds in which there is one."""
    return [r[name][key] for r in rounds if name in r and r[name].get(key) is not None]


def report(case, rounds):
    """Prints a row a program, and Rift's ratios to the others."""
    for name in rounds[0]:
        problems = {r[name]["problem"] for r in rounds if r[name].get("problem")}
        rates = column(rounds, name, "rate")
        row = f"{case:<18} {name:<14} {spread(rates, 1) if rates else ', '.join(problems):>28}"
        if memory := column(rounds, name, "memory"):
            row += f" {max(memory) / 2**30:8.2f} GiB"
        ours = "rift, float32" if name == "rift, float32" else "rift, bf16"
        pairs = [r for r in rounds if r[name].get("rate") and r.get(ours, {}).get("rate")]
        if pairs and not name.startswith("rift"):
            ratios = [r[ours]["rate"] / r[name]["rate"] for r in pairs]
            least, most = TARGETS[name]
            met = "met" if statistics.median(ratios) >= least else "missed"
            row += f"   Rift's bf16 is {spread(ratios, 2)} times as fast, target {least}: {met}"
            sizes = [r[ours]["memory"] / r[name]["memory"] for r in pairs if r[name].get("memory")]
            if sizes and column(rounds, ours, "memory"):
                met = "met" if max(sizes) <= most else "missed"
                row += f"; memory {max(sizes):.2f} times, target {most}: {met}"
        print(row, flush=True)


def read(path):
    """What an earlier run has kept."""
    if path and Path(path).exists():
        return json.loads(Path(path).read_text())
    return {}


def write(path, kept):
    """Keeps what is done, whole at every moment."""
    if path:
        beside = Path(f"{path}.new")
        beside.write_text(json.dumps(kept, indent=2))
        beside.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=RIFT, help="rift-trainer")
    parser.add_argument("--python", default=PEERS, help="a Python that has torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--archs", default="resnet18")
    parser.add_argument("--batches", default="128", help="images in a batch")
    parser.add_argument("--programs", default="rift, bf16;rift, float32;tuned;reference")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=1, help="Rift's repetitions in a round")
    parser.add_argument("--seconds", type=float, default=0.1, help="PyTorch repeats for so long")
    parser.add_argument("--compile", action="store_true", help="the tuned program compiles")
    parser.add_argument("--limit", type=float, help="seconds, after which it stops between two programs")
    parser.add_argument("--json", help="keep the rounds here, and go on from there")
    arguments = parser.parse_args()
    arguments.programs = [name.strip() for name in arguments.programs.split(";")]
    if not Path(arguments.python).exists():
        print("skipped: PyTorch beside it, for there is no .peers: tests/peers/setup.sh makes it")
        arguments.programs = [name for name in arguments.programs if name.startswith("rift")]
    deadline = None if arguments.limit is None else time.monotonic() + arguments.limit
    kept = read(arguments.json)
    print(f"AT step with PGD-10, {arguments.device}, {arguments.threads} threads: images per second, "
          f"median (lowest to highest) of {arguments.rounds} rounds, and peak memory")
    for arch in arguments.archs.split(","):
        for batch in arguments.batches.split(","):
            case = f"{arch}, {batch}"
            rounds = kept.setdefault(case, [])
            while len(rounds) < arguments.rounds:
                found = one_round(arguments, arch, batch, len(rounds) % 2 == 1, deadline)
                if found is None:
                    print(f"the time is up in {case}; run again to go on")
                    return 3
                rounds.append(found)
                write(arguments.json, kept)
            report(case, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
