"""Milliseconds an image of the common corruptions on one core, beside the published programs."""

import json

from measure import Case
from programs import PEERS, RELEASE
from row import Aim, alone, versus

AIM = 5
ONE_CORE = {"OMP_NUM_THREADS": "1"}


def cases(bench):
    """Images of 32 and of 64 pixels."""
    data = bench.networks.data
    if data is None:
        bench.peers.skip("corruptions", "there is no CIFAR-10 (DATA=)")
        return
    python = bench.peers.get("main", "imagecorruptions beside Rift's corruptions")
    for size in ["32"] if bench.arguments.quick else ["32", "64"]:
        commands = {"rift": [RELEASE / "corruptions", "speed", data, size]}
        if python:
            theirs = [python, PEERS / "corruptions.py", "speed", "--data", data, "--sizes", size]
            commands["imagecorruptions"] = theirs

        def job(command, size=size):
            found = json.loads(bench.programs.call(command, ONE_CORE))
            times = {name: of[size] for name, of in found.items()}
            without = sum(times.values()) - times["glass_blur"]
            return {"all 19": sum(times.values()), "without glass blur": without, "times": times}

        jobs = {name: lambda command=command, job=job: job(command) for name, command in commands.items()}
        yield Case(f"corruptions {size}x{size}", jobs, lambda rounds, size=size: rows(size, rounds))


def rows(size, rounds):
    """All of them, and without the one that is a loop in Python."""
    found = []
    for what in ("all 19", "without glass blur"):
        more = {"aim": Aim(AIM) if what == "all 19" else None}
        columns = [(name, what) for name in ("rift", "imagecorruptions")]
        group = f"corruptions {size}x{size}"
        found += versus(group, what, "ms", rounds, *columns, **more) or alone(group, what, "ms", rounds, columns[0])
    return found
