"""A step of adversarial training, PGD-10 and one step of SGD on its images, beside PyTorch's.

Rift, in bf16 and in float32, is held against two PyTorch programs: one that crafts as the reference
repositories do (float32, eager, gradients of all parameters), and a tuned one (bf16 autocast,
channels-last, frozen parameters; with `--compile` also `torch.compile` and cuDNN's benchmark mode).
"""

from measure import Case, pairs
from programs import PEERS
from row import Aim, alone, versus

OURS = {"bf16": "rift, bf16", "float32": "rift, float32"}
# Whom Rift's bf16 is held against, and the least ratio of images per second.
AIMS = {"PyTorch, reference": 3.0, "PyTorch, tuned": 1.0}
# The most memory beside either: 1.2 times as much.
MEMORY = Aim(round(1 / 1.2, 3))
# Ten times forward and the image's gradient, then forward and both gradients.
PASSES = 10 * 2 + 3


def cases(bench):
    """Every architecture and batch size that is asked for."""
    a = bench.arguments
    python = bench.peers.get("main", "PyTorch beside training")
    for arch in ["resnet20"] if a.quick else a.training_archs.split(","):
        for batch in ["32"] if a.quick else a.batches.split(","):
            case = f"{arch}, batches of {batch}"
            commands = programs(a, python, arch, batch)
            jobs = {name: lambda command=command: figures(bench, command) for name, command in commands.items()}
            yield Case(f"training {case}", jobs, lambda rounds, arch=arch, case=case: rows(bench, arch, case, rounds))


def programs(a, python, arch, batch):
    """The commands by name."""
    size = ["--arch", arch, "--device", a.device, "--threads", a.threads]
    rift = [a.program, "bench", *size, "--batch-size", batch, "--measures", "at-step", "--quiet"]
    rift += ["--repeat", a.repeat]
    found = {name: [*rift, "--precision", precision] for precision, name in OURS.items()}
    if python:
        peer = [python, PEERS / "bench_training.py", *size, "--batch", batch]
        peer += ["--measures", "at_step", "--seconds", a.peer_seconds]
        # The first runs compile, once for the crafting and once for the training.
        compile = ["--compile", "--warm", "2"] if a.compile else []
        found["PyTorch, tuned"] = [*peer, "--way", "tuned", *compile]
        found["PyTorch, reference"] = [*peer, "--way", "reference"]
    return found


def figures(bench, command):
    """Images per second and peak memory from either program's JSON."""
    result = bench.programs.json(command)
    if "at_step_pgd10" in result:
        rate = result["at_step_pgd10"]["median"]
    else:
        rate = result["images_per_second"]["at_step"]
    memory = result.get("peak_memory")
    found = {"rate": rate, "memory": memory / 2**30 if memory else None}
    return {**found, "device_memory": result.get("peak_device_memory")}


def rows(bench, arch, case, rounds):
    """A row for each pair of programs, in speed and in memory."""
    group, what, found = f"training {case}", "AT step, PGD-10", []
    for precision, name in OURS.items():
        rates = pairs(rounds, (name, "rate"))[0]
        share = bench.floor.share(arch, PASSES, rates, precision) if bench.floor else []
        mine = f"{what}, {precision}"
        beside = []
        for peer, least in AIMS.items():
            aim = Aim(least) if precision == "bf16" else None
            beside += versus(group, mine, "images/s", rounds, (name, "rate"), (peer, "rate"), aim=aim, share=share)
        found += beside or alone(group, mine, "images/s", rounds, (name, "rate"), share=share)
    for peer in AIMS:
        ours, theirs = (OURS["bf16"], "memory"), (peer, "memory")
        found += versus(group, "peak memory, bf16", "GiB", rounds, ours, theirs, aim=MEMORY)
    return found
