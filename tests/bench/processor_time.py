"""A step of adversarial training beside PyTorch's on a machine that others use too.

    python3 tests/bench/processor_time.py [--rounds 2] [--batch 128] [--python PYTHON] [--program P]

Two threads that wait for each other measure who else is on the machine; the processor seconds of one
thread hardly do. So every program runs on one thread, and a rate is images per second of its own
processor time: of Rift, the time of two steps less that of one, with all that comes before; of
PyTorch, by `bench_training.py --clock processor`. The programs are those of `training.py`.
"""

import argparse
import json
import resource
import subprocess
import tempfile
from pathlib import Path

import training


def processor_seconds(command):
    """Runs a program to its end; the seconds that it computed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name, command, batch, path):
    """Images per second of processor time and peak memory of a program."""
    command = [*command, "--json", path]
    if not name.startswith("rift"):
        processor_seconds([*command, "--clock", "processor"])
        return training.figures(json.loads(path.read_text()))
    at = command.index("--repeat") + 1
    one, two = (processor_seconds([*command[:at], n, *command[at + 1 :]]) for n in (1, 2))
    return {**training.figures(json.loads(path.read_text())), "rate": batch / (two - one)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=training.RIFT)
    parser.add_argument("--python", default=training.PEERS)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--programs", default="rift, bf16;tuned;reference;rift, float32")
    arguments = parser.parse_args()
    vars(arguments).update(device="cpu", threads=1, repeat=1, seconds=0.1, compile=False)
    arguments.programs = [name.strip() for name in arguments.programs.split(";")]
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.rounds):
            todo = training.commands(arguments, arguments.arch, arguments.batch)
            path = Path(folder) / "result.json"
            names = sorted(todo, reverse=index % 2 == 1)
            rounds.append({n: measure(n, todo[n], arguments.batch, path) for n in names})
    print("images per second of processor time, one thread")
    training.report(f"{arguments.arch}, {arguments.batch}", rounds)


if __name__ == "__main__":
    main()
