"""Images per second of logits, and of logits with the image's gradient, in float32.

The runtime against ONNX Runtime's Python API and tract, which have no gradient, and against PyTorch with
frozen parameters; the trainer's gradient against PyTorch's. Each in the best of several batch sizes,
but PyTorch and the trainer in batches of `--batch`.
"""

from measure import Case, pairs
from networks import architecture
from programs import PEERS
from row import Aim, alone, versus

BATCHES = "1,8,16,32"
TRACT_BATCHES = (1, 8)
# The least ratios: the runtime's gradient to PyTorch's, the trainer's to PyTorch's.
AIMS = {"runtime": 0.9, "trainer": 1.0}


def cases(bench):
    """Every architecture that is asked for."""
    a = bench.arguments
    python = bench.peers.get("main", "PyTorch and onnxruntime's Python API beside inference")
    tract = bench.peers.get("tract", "tract beside inference")
    for arch in ["resnet20"] if a.quick else a.archs.split(","):
        bundle = bench.networks.bundle(arch)
        model = bundle / "model.onnx"
        jobs = {
            "rift": lambda bundle=bundle: runtime(bench, bundle),
            "rift-trainer": lambda arch=arch: trainer(bench, arch),
        }
        if python:
            jobs["PyTorch"] = lambda arch=arch: pytorch(bench, python, arch)
            jobs["onnxruntime, Python"] = lambda model=model: session(bench, python, model)
        if tract:
            sides = ",".join(str(side) for side in architecture(bundle)["input"])
            jobs["tract"] = lambda model=model, sides=sides: from_tract(bench, tract, model, sides)
        yield Case(f"inference {arch}", jobs, lambda rounds, arch=arch: rows(bench, arch, rounds))


def runtime(bench, bundle):
    """Rift's session, at its best batch size."""
    a = bench.arguments
    command = [bench.runtime, "bench", bundle, "--quiet", "--repetitions", "2" if a.quick else "5"]
    runs = bench.programs.json([*command, "--threads", a.threads, "--batch-size", "8,16"])["runs"]
    return {
        "forward": max(run["forward"]["median"] for run in runs),
        "gradient": max(run["forward_and_gradient"]["median"] for run in runs),
    }


def trainer(bench, arch):
    """Rift's trainer."""
    a = bench.arguments
    command = [a.program, "bench", "--arch", arch, "--batch-size", a.batch, "--threads", a.threads]
    command += ["--device", a.device, "--measures", "gradient", "--repeat", "1" if a.quick else "3", "--quiet"]
    return {"gradient": bench.programs.json(command)["forward_and_input_gradient"]["median"]}


def pytorch(bench, python, arch):
    """PyTorch, eager."""
    a = bench.arguments
    command = [python, PEERS / "bench_training.py", "--arch", arch, "--batch", a.batch, "--threads", a.threads]
    command += ["--device", a.device, "--measures", "forward,gradient", "--seconds", seconds(a)]
    return bench.programs.json(command)["images_per_second"]


def session(bench, python, model):
    """ONNX Runtime's Python API, at its best batch size."""
    a = bench.arguments
    command = [python, PEERS / "bench_session.py", model, "--batches", BATCHES, "--threads", a.threads]
    found = bench.programs.json([*command, "--seconds", seconds(a) / 2])
    return {"forward": max(found["images_per_second"].values())}


def from_tract(bench, tract, model, sides):
    """tract, at its best batch size."""
    a = bench.arguments
    rates = []
    for batch in TRACT_BATCHES:
        rates.append(float(bench.programs.call([tract, model, sides, batch, a.threads, seconds(a) / 2])))
    return {"forward": max(rates)}


def seconds(a):
    """How long a peer repeats a measurement."""
    return 0.5 if a.quick else 2


def rows(bench, arch, rounds):
    """A row for each figure and peer."""
    group, unit = f"inference {arch}", "images/s"
    found = []
    for what, ours, peers, passes in (
        ("forward", ("rift", "forward"), ("onnxruntime, Python", "tract", "PyTorch"), 1),
        ("forward and image's gradient", ("rift", "gradient"), ("PyTorch",), 2),
        ("trainer, forward and image's gradient", ("rift-trainer", "gradient"), ("PyTorch",), 2),
    ):
        share = bench.floor.share(arch, passes, pairs(rounds, ours)[0]) if bench.floor else []
        key = ours[1]
        bound = AIMS["trainer" if "trainer" in ours[0] else "runtime"]
        beside = []
        for peer in peers:
            aim = Aim(bound) if key == "gradient" else None
            beside += versus(group, what, unit, rounds, ours, (peer, key), aim=aim, share=share)
        found += beside or alone(group, what, unit, rounds, ours, share=share)
    return found
