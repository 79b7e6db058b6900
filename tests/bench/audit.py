"""PGD-20 by `rift-runtime audit` and by PyTorch's libraries of attacks, on the same weights and images.

Only images that are classified correctly are attacked, by all. `all steps` is `--no-early-stop`, as the
libraries do it; by default an image that is broken stops. Times are those of the attack alone: they
count no start and no reading of images.
"""

from measure import Case, Problem, pairs
from networks import architecture
from programs import PEERS, RELEASE
from row import Aim, alone, figure, versus

LIBRARIES = {"torchattacks": "torchattacks", "foolbox": "foolbox", "ART": "art"}
# The least ratios to torchattacks for trained networks: all steps, and by default.
AIMS = {
    ("resnet20", "cpu"): (1.3, 2.2),
    ("resnet18", "cpu"): (1.05, 1.8),
    ("resnet20", "openvino"): (None, None),
    ("resnet18", "openvino"): (4.0, 7.0),
}
WAYS = {"rift, all steps": ["--no-early-stop"], "rift": []}


def cases(bench):
    """The trained network where there is one, else ResNet-20 with random weights."""
    a = bench.arguments
    trained = bench.networks.trained()
    bundle = trained or bench.networks.bundle("resnet20")
    arch = architecture(bundle)["name"]
    limit = a.limit or (40 if a.quick else 200)
    data, name = bench.networks.data, f"{arch}, trained" if trained else f"{arch}, random weights"
    python = bench.peers.get("main", "PGD beside torchattacks, foolbox and ART")
    real = trained and data is not None
    if not real:
        # Random weights are right about few images, which says little about a speed.
        if python is None:
            bench.peers.skip("PGD", "without a trained network and CIFAR-10 (BUNDLE=, DATA=) PyTorch makes up the images")
            return
        data, name = bench.folder / "images.npz", f"{name}, made-up images"
        bench.programs.call([python, PEERS / "bench_attacks.py", "images", bundle, "--limit", limit, "--out", data])
    # The same for all.
    size = ["--data", data, "--limit", limit, "--steps", a.steps, "--threads", a.threads]
    jobs = {way: lambda more=more: rift(bench, bundle, [*size, *more]) for way, more in WAYS.items()}
    peer = [python, PEERS / "bench_attacks.py", "attack", bundle, *size, "--library"]
    for who, library in LIBRARIES.items() if python else ():
        jobs[who] = lambda library=library: bench.programs.json([*peer, library])
    aims = AIMS.get((arch, a.provider), (None, None)) if real else (None, None)
    yield Case(f"audit, {name}", jobs, lambda rounds: rows(bench, name, arch, rounds, aims))


def rift(bench, bundle, more):
    """Seconds, gradients per second and robust accuracy."""
    a = bench.arguments
    command = [RELEASE / "rift-runtime", "audit", bundle, "--quiet", "--eps", "8/255", "--step", "2/255"]
    if a.provider != "cpu":
        command += ["--provider", a.provider, "--precision", a.precision]
    report = bench.programs.json([*command, *more])
    [attack] = report["attacks"]
    if not attack["gradients"]:
        raise Problem("no image is classified correctly, so none was attacked")
    return {
        "seconds": attack["seconds"],
        "gradients_per_second": attack["gradients"] / attack["seconds"],
        "robust_accuracy": report["robust_accuracy"],
        "n": report["n"],
    }


def rows(bench, name, arch, rounds, aims):
    """A row for each way and library."""
    found, a = [], bench.arguments
    for way, aim in zip(WAYS, aims):
        group = f"audit {name}"
        what = f"PGD-{a.steps}, {'by default' if way == 'rift' else 'all steps'}"
        ours = (way, "seconds")
        rates = pairs(rounds, (way, "gradients_per_second"))[0]
        share = bench.floor.share(arch, 2, rates, a.precision) if bench.floor else []
        beside = []
        for library in LIBRARIES:
            bound = Aim(aim) if aim and library == "torchattacks" else None
            beside += versus(group, what, "s", rounds, ours, (library, "seconds"), aim=bound, share=share)
        beside = beside or alone(group, what, "s", rounds, ours, share=share)
        for row in beside[:1]:
            row.note = accuracies(rounds, way)
        found += beside
    return found


def accuracies(rounds, way):
    """What all say of the robustness, for a speed that finds less would be none, and Rift's gradients."""
    said = []
    for who in (way, *LIBRARIES):
        robust, rates = (pairs(rounds, (who, key))[0] for key in ("robust_accuracy", "gradients_per_second"))
        if robust:
            said.append(f"{who} {robust[0]:.2%} robust, {figure(rates)} gradients/s")
    return "; ".join(said)
