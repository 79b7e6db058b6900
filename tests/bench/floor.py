"""The machine's limits, which every figure is held against: matrix products and copies in memory."""

from measure import Case, pairs
from programs import PEERS
from row import alone

GROUP = "floor"


def cases(bench):
    """The rates of PyTorch's products of matrices and of its copy."""
    python = bench.peers.get("main", "the machine's limits, and every share of them")
    if python is None:
        return
    a = bench.arguments
    archs = ",".join(sorted({*a.archs.split(","), *a.training_archs.split(","), "resnet20"}))
    command = [python, PEERS / "bench_floor.py", "--archs", archs, "--threads", a.threads]
    command += ["--device", a.device, "--seconds", 0.2 if a.quick else 0.5]

    def job():
        found = bench.programs.json(command)
        giga = {f"{name}, G": found[name] / 1e9 for name in ("float32", "bf16", "copy")}
        return {**found, **giga}

    yield Case(GROUP, {"torch": job}, lambda rounds: rows(bench, rounds))


def rows(bench, rounds):
    """Three rows, none of which is Rift's; what they hold is kept for the shares of others."""
    bench.floor = Floor(rounds) if pairs(rounds, ("torch", "float32"))[0] else None
    found = []
    for what, key, unit in (
        ("float32 matrix product, torch", "float32, G", "GFLOP/s"),
        ("bf16 matrix product, torch", "bf16, G", "GFLOP/s"),
        ("copy in memory, torch", "copy, G", "GB/s"),
    ):
        found += alone(GROUP, what, unit, rounds, ("torch", key))
    return found


class Floor:
    """The best of all rounds: nothing that runs on the machine can be faster."""

    def __init__(self, rounds):
        columns = {key: pairs(rounds, ("torch", key))[0] for key in ("float32", "bf16", "copy")}
        self.rates = {key: max(values) for key, values in columns.items()}
        self.operations = pairs(rounds, ("torch", "operations"))[0][0]

    def share(self, arch, passes, rates, precision="float32"):
        """What part of the product's rate so many images per second are.

        `passes` is the work for an image in forward passes: the input's gradient takes another for the
        backward pass, and the weights' gradient one more.
        """
        if arch not in self.operations:
            return []
        return [rate * passes * self.operations[arch] / self.rates[precision] for rate in rates]
