"""Rift beside its peers on this machine: one table, with the machine's limits measured in the same run.

    python3 tests/bench/bench.py [--only audit,serving] [--rounds 3] [--quick]

`make bench` builds what it needs and calls it. It sets up the peers' environments itself; what it
skips is said, with the reason. Programs take turns within a round, ratios are taken within a round, and
the table has their median and range. A ratio says how many times as good Rift is, so a larger one is
always better. The last column is how much of the machine's rate of matrix products, in the same
numbers, the network's multiplications and additions make.

Everything goes to `target/bench/bench.json`, every round's values included, and the ratios to
`target/bench/bench.svg`. Exit code 2: a program of Rift's failed; 3: the time of `--time` is up.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import audit
import chart
import corruptions
import criticality
import floor
import inference
import machine
import serving
import start
import training
from floor import Floor
from measure import Problem, Record, TimeUp
from networks import Networks
from peers import Peers
from programs import RELEASE, TARGET, Programs
from row import table

# Those whose figures are shares of the floor.
SHARES = {"audit", "training", "inference", "serving"}
# In this order: shares need the floor.
SUBJECTS = {
    "floor": floor,
    "audit": audit,
    "training": training,
    "inference": inference,
    "criticality": criticality,
    "serving": serving,
    "corruptions": corruptions,
    "start": start,
}


@dataclass
class Bench:
    """What every subject gets."""

    arguments: argparse.Namespace
    folder: Path
    programs: Programs
    peers: Peers
    networks: Networks
    floor: Floor | None = None

    @property
    def runtime(self):
        return RELEASE / "rift-runtime"


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SUBJECTS), help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes and one round, to see that it works")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, default=TARGET / "bench" / "bench.json", help="the .svg goes beside it")
    parser.add_argument("--resume", action="store_true", help="keep the rounds that are in --json")
    parser.add_argument("--time", type=float, help="seconds, after which it stops; --resume goes on")
    parser.add_argument("--python", type=Path, help="a Python that has torch, in place of .peers")
    parser.add_argument("--program", type=Path, default=RELEASE / "rift-trainer", help="rift-trainer")
    parser.add_argument("--device", default="cpu", help="training, inference, criticality, floor: cpu or cuda")
    a = parser.add_argument_group("audit, and the networks that are measured")
    a.add_argument("--bundle", type=Path, help="a trained network [default: that of models/zoo]")
    a.add_argument("--checkpoint", type=Path, help="the same, and the bundle is made of it")
    a.add_argument("--data", type=Path, help="CIFAR-10 as Parquet [default: ../shared/data/cifar10]")
    a.add_argument("--limit", type=int, help="images that are attacked [default: 200]")
    a.add_argument("--autoattack", type=int, help="images that AutoAttack attacks [default: 40]")
    a.add_argument("--steps", type=int, default=20, help="of PGD")
    a.add_argument("--provider", default="cpu", help="ONNX Runtime's execution provider")
    a.add_argument("--precision", default="float32", help="of the provider's gradients: float32 or bf16")
    t = parser.add_argument_group("training")
    t.add_argument("--training-archs", default="resnet18")
    t.add_argument("--batches", default="128", help="images in a batch")
    t.add_argument("--repeat", type=int, default=1, help="Rift's repetitions in a round")
    t.add_argument("--peer-seconds", type=float, default=0.1, help="PyTorch repeats for so long")
    t.add_argument("--compile", action="store_true", help="the tuned program compiles")
    o = parser.add_argument_group("others")
    o.add_argument("--archs", default="resnet20,resnet18", help="inference")
    o.add_argument("--batch", type=int, default=64, help="inference: images in a batch of PyTorch and the trainer")
    o.add_argument("--criticality", type=int, help="images [default: 16]")
    o.add_argument("--seconds", type=float, help="serving: of each measurement [default: 4]")
    o.add_argument("--starts", type=int, help="start: rounds [default: 20]")
    arguments = parser.parse_args()
    chosen = set(arguments.only.split(","))
    if unknown := chosen - SUBJECTS.keys():
        parser.error(f"no subject `{min(unknown)}`, expected some of {', '.join(SUBJECTS)}")
    if chosen & SHARES:
        chosen.add("floor")
    arguments.only = [name for name in SUBJECTS if name in chosen]
    arguments.rounds = 1 if arguments.quick else arguments.rounds
    for key, value in vars(arguments).items():
        # Programs run at the top of the repository, wherever this one was called.
        if isinstance(value, Path):
            setattr(arguments, key, value.absolute())
    return arguments


def rows_of(bench, record):
    """The rows of every subject that is asked for, as they come."""
    for name in bench.arguments.only:
        try:
            for case in SUBJECTS[name].cases(bench):
                yield from case.rows(record.measure(case, case.rounds or bench.arguments.rounds))
        except Problem as problem:
            record.rounds[name] = [{"rift": {"problem": str(problem)}}]


def earlier(path, shown):
    """The rounds of an earlier run, which must have measured the same."""
    kept = json.loads(path.read_text())
    free = {"json", "only", "resume", "rounds", "time"}
    before = kept.get("arguments", {})
    for key in sorted(shown.keys() - free):
        if before.get(key) != shown[key]:
            wanted = f"expected {key} {shown[key]}, found {before.get(key)}"
            print(f"error: {path} holds other measurements: {wanted}", file=sys.stderr)
            sys.exit(2)
    return kept["rounds"]


def write(path, words):
    """Whole at every moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(words)
    beside.replace(path)


def report(bench, rows, record):
    """Prints the table and what is missing from it; whether a program of Rift's failed."""
    print(table(rows))
    print()
    for row in rows:
        if row.note:
            print(f"{row.group}, {row.what}: {row.note}")
    for what in dict.fromkeys(bench.peers.skipped):
        print(f"skipped: {what}")
    failed = False
    for case, program, why in record.problems():
        ours = program.startswith("rift")
        # A batch that does not fit is a finding.
        failed |= ours and why != "out of memory"
        print(f"{'failed' if ours else 'skipped'}: {program} in {case}: {why}")
    return failed


def main():
    arguments = parse()
    shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    kept = earlier(arguments.json, shown) if arguments.resume and arguments.json.exists() else {}
    about = machine.describe(arguments.threads, arguments.program)
    rows, started = [], time.monotonic()

    def keep(record):
        result = {"machine": about, "arguments": shown, "seconds": time.monotonic() - started}
        result |= {"rows": [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict()} for row in rows]}
        result |= {"skipped": bench.peers.skipped, "rounds": record.rounds}
        write(arguments.json, json.dumps(result, indent=1) + "\n")

    record, late = Record(keep, kept), False
    with tempfile.TemporaryDirectory() as folder:
        folder, programs = Path(folder), Programs(arguments.time)
        peers = Peers(programs, arguments.python)
        bench = Bench(arguments, folder, programs, peers, Networks(programs, folder, arguments))
        try:
            for row in rows_of(bench, record):
                rows.append(row)
        except TimeUp:
            late = True
    keep(record)
    title = f"Rift beside its peers: {about['processor']}, {arguments.threads} threads"
    write(arguments.json.with_suffix(".svg"), chart.chart(rows, title))
    load = [r["load"] for rounds in record.rounds.values() for r in rounds if "load" in r]
    print(f"Rift {about['rift']}, commit {about['commit']}, {about['processor']}, {arguments.threads} threads; load ", end="")
    print(f"{about['load'][0]:.1f} before, {min(load, default=0):.1f} to {max(load, default=0):.1f} after each round; ", end="")
    print(f"{arguments.rounds} rounds; {(time.monotonic() - started) / 60:.1f} minutes\n")
    failed = report(bench, rows, record)
    print(f"\nwritten: {arguments.json} and {arguments.json.with_suffix('.svg').name}")
    if late:
        print("the time is up: --resume goes on")
        return 3
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
