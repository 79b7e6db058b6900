"""How large `rift-runtime` is, how soon it answers once it is started, and what memory it takes.

    python3 tests/bench/cold_start.py BUNDLE [--program target/release/rift-runtime] [--rounds 20]

A start is timed from before the process is made to the first answer with status 200 to an inference
of one blank image, asked without a pause until it comes; once as a user starts it, with the screen that
tries the model in a process of its own, and once with `--trust-models`, in turns. Memory is the resident set
(`VmRSS`, and its peak `VmHWM`) after that answer and after 500 more. What else runs on the machine
is said beside the figures: on a busy one they are worth little.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"screened": [], "trusted": ["--trust-models"]}
# The figures that are aimed at.
MEGABYTE = 1_000_000
AIMS = {"program": 15.0, "first answer": 150.0, "resident": 90.0}
MORE = 500
NOT_YET = (404, 503)


def stripped(program):
    """The bytes of the program without its symbols."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(program, folder)
        subprocess.run(["strip", copy], check=True)
        return os.path.getsize(copy)


def memory(process, what):
    """A line of the process's memory, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    sys.exit(f"error: the system does not say {what}")


def start(program, bundle, flags, body):
    """Milliseconds to listening and to the first answer, and memory after it and after more."""
    command = [program, "serve", f"m={bundle}", "--listen", "127.0.0.1:0", *flags]
    environment = {**os.environ, "RIFT_LOG": "error"}
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = process.stdout.readline().strip().rsplit("/", 1)[-1]
            listening = time.perf_counter() - begun
            connection = http.client.HTTPConnection(address)
            while (status := ask(connection, body)) != 200:
                # Until the model is there, the server says that it is not, and nothing else.
                if status not in NOT_YET:
                    sys.exit(f"error: the server answers {status}")
            answered = time.perf_counter() - begun
            first = memory(process, "VmRSS")
            for _ in range(MORE):
                ask(connection, body)
            return {
                "listening": listening * 1e3,
                "first answer": answered * 1e3,
                "resident": first / MEGABYTE,
                f"resident, {MORE} later": memory(process, "VmRSS") / MEGABYTE,
                "peak": memory(process, "VmHWM") / MEGABYTE,
            }
        finally:
            process.terminate()
            process.wait()


def ask(connection, body):
    connection.request("POST", "/v2/models/m/infer", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    reply.read()
    return reply.status


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/rift-runtime")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    card = json.loads((arguments.bundle / "card.json").read_text())
    shape = [1, *card["arch"]["input"]]
    blank = {"name": "input", "datatype": "FP32", "shape": shape}
    blank["data"] = [0.0] * (shape[1] * shape[2] * shape[3])
    body = json.dumps({"inputs": [blank]})
    found = {kind: [] for kind in KINDS}
    load = os.getloadavg()[0]
    for _ in range(arguments.rounds):
        for kind, flags in KINDS.items():
            found[kind].append(start(arguments.program, arguments.bundle, flags, body))
    size = stripped(arguments.program) / MEGABYTE
    print(f"program, stripped, without ONNX Runtime: {size:.1f} MB (aim: at most {AIMS['program']})")
    print(f"{card['arch']['name']}, {arguments.rounds} starts of each kind, {os.cpu_count()} cores,", end=" ")
    print(f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after")
    for kind, rounds in found.items():
        for figure in rounds[0]:
            values = sorted(one[figure] for one in rounds)
            unit = "ms" if figure in ("listening", "first answer") else "MB"
            aim = f", aim: at most {AIMS[figure]}" if figure in AIMS else ""
            middle = statistics.median(values)
            print(f"{kind:9} {figure:21} median {middle:6.1f} {unit}", end="")
            print(f" (least {values[0]:.1f}, most {values[-1]:.1f}{aim})")
    if arguments.json:
        arguments.json.write_text(json.dumps({"program": size, "load": load, **found}, indent=1))


if __name__ == "__main__":
    main()
