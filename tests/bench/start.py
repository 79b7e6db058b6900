"""How large `rift-runtime` is, how soon it answers once it is started, and what memory it takes.

A start is timed from before the process is made to the first answer with status 200 to an inference
of one blank image, asked without a pause until it comes; once as a user starts it, with the screen that
tries the model in a process of its own, and once with `--trust-models`. Memory is the resident set
(`VmRSS`, and its peak `VmHWM`) after that answer and after 500 more. The program is the one for devices
where there is one (`cargo build --profile dist -p rift-runtime`), else the one of `make build`.
"""

import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import Case, Problem
from networks import architecture
from programs import TARGET
from row import Aim, alone

KINDS = {"rift": [], "rift, trusted": ["--trust-models"]}
NAMES = {"rift": "screened", "rift, trusted": "--trust-models"}
MEGABYTE = 1_000_000
MORE = 500
NOT_YET = (404, 503)
# What is measured, its unit and the most that is aimed at.
FIGURES = {
    "listening": ("ms", None),
    "first answer": ("ms", 150.0),
    "resident": ("MB", 90.0),
    f"resident, {MORE} answers later": ("MB", None),
    "peak": ("MB", None),
}


def cases(bench):
    """Starts, and once the size of the program."""
    bundle = bench.networks.bundle("resnet20")
    shape = [1, *architecture(bundle)["input"]]
    count = shape[1] * shape[2] * shape[3]
    blank = {"name": "input", "datatype": "FP32", "shape": shape, "data": [0.0] * count}
    body = json.dumps({"inputs": [blank]})
    small = TARGET / "dist" / "rift-runtime"
    program = small if small.exists() else bench.runtime
    jobs = {name: lambda flags=flags: start(program, bundle, flags, body) for name, flags in KINDS.items()}
    yield Case("start", jobs, rows, rounds=bench.arguments.starts or (3 if bench.arguments.quick else 20))
    jobs = {"rift": lambda: {"stripped": stripped(program)}}
    yield Case("size", jobs, lambda rounds: size(rounds, program.parent.name), rounds=1)


def rows(rounds):
    """A row for each kind of start and figure."""
    found = []
    for kind in KINDS:
        for name, (unit, most) in FIGURES.items():
            aim = Aim(most, at_most=True) if most else None
            found += alone(f"start, {NAMES[kind]}", name, unit, rounds, (kind, name), aim=aim)
    return found


def size(rounds, profile):
    """The program on the disk; the aim is for the one for devices."""
    aim = Aim(15.0, at_most=True) if profile == "dist" else None
    what = f"rift-runtime ({profile}), stripped, without ONNX Runtime"
    return alone("size", what, "MB", rounds, ("rift", "stripped"), aim=aim)


def stripped(program):
    """The megabytes of the program without its symbols."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(program, folder)
        subprocess.run(["strip", copy], check=True)
        return os.path.getsize(copy) / MEGABYTE


def memory(process, what):
    """A line of the process's memory, in megabytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise Problem(f"the system does not say {what}")


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
                    raise Problem(f"the server answers {status}")
            answered = time.perf_counter() - begun
            first = memory(process, "VmRSS")
            for _ in range(MORE):
                ask(connection, body)
            figures = [listening * 1e3, answered * 1e3, first, memory(process, "VmRSS"), memory(process, "VmHWM")]
            return dict(zip(FIGURES, figures))
        finally:
            process.terminate()
            process.wait()


def ask(connection, body):
    """The status of an answer."""
    connection.request("POST", "/v2/models/m/infer", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    reply.read()
    return reply.status
