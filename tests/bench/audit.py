"""PGD-20 and AutoAttack by `rift-runtime audit` and by PyTorch's libraries of attacks, on the same weights and
images.

Only images that are classified correctly are attacked, by all. `all steps` is `--no-early-stop`, as the
libraries do it; by default an image that is broken stops. AutoAttack is the standard composition of both,
whose stages go on with what is left. Times are those of the attacks alone: they count no start and no
reading of images.
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
# The same for AutoAttack.
AUTOATTACK_AIMS = {("resnet20", "cpu"): 1.5, ("resnet20", "openvino"): 3.0}
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
    pgd = ["--eps", "8/255", "--step", "2/255"]
    jobs = {way: lambda more=more: figures(audit(bench, bundle, [*size, *pgd, *more])) for way, more in WAYS.items()}
    peer = [python, PEERS / "bench_attacks.py", "attack", bundle, *size, "--library"]
    for who, library in LIBRARIES.items() if python else ():
        jobs[who] = lambda library=library: bench.programs.json([*peer, library])
    aims = AIMS.get((arch, a.provider), (None, None)) if real else (None, None)
    yield Case(f"audit, {name}", jobs, lambda rounds: rows(bench, name, arch, rounds, aims))
    if real:
        yield autoattack(bench, bundle, python, name, AUTOATTACK_AIMS.get((arch, a.provider)))


def autoattack(bench, bundle, python, name, aim):
    """The standard AutoAttack beside torchattacks', which takes the authors' 100 iterations here, not its own 10."""
    a = bench.arguments
    limit = a.autoattack or (4 if a.quick else 40)
    size = ["--data", bench.networks.data, "--limit", limit, "--threads", a.threads]
    jobs = {"rift": lambda: figures(audit(bench, bundle, [*size, "--attack", "autoattack", "--eps", "8/255"]))}
    if python:
        peer = [python, PEERS / "torchattacks_autoattack.py", bundle, *size]
        jobs["torchattacks"] = lambda: totals(bench.programs.json(peer))

    def rows(rounds):
        what, ours, theirs = f"AutoAttack, {limit} images", ("rift", "seconds"), ("torchattacks", "seconds")
        group, bound = f"audit {name}", Aim(aim) if aim else None
        found = versus(group, what, "s", rounds, ours, theirs, aim=bound) or alone(group, what, "s", rounds, ours)
        for row in found:
            row.note = accuracies(rounds, ["rift", "torchattacks"])
        return found

    return Case(f"autoattack, {name}", jobs, rows, rounds=1)


def totals(report):
    """Seconds and robust accuracy of all stages of `torchattacks_autoattack.py`."""
    stages = report["stages"]
    return {"seconds": sum(s["peer_seconds"] for s in stages), "robust_accuracy": stages[-1]["peer"]}


def audit(bench, bundle, more):
    """The report of `rift-runtime audit`."""
    a = bench.arguments
    command = [RELEASE / "rift-runtime", "audit", bundle, "--quiet"]
    if a.provider != "cpu":
        command += ["--provider", a.provider, "--precision", a.precision]
    return bench.programs.json([*command, *more])


def figures(report):
    """Seconds, gradients per second and robust accuracy of a report."""
    seconds, gradients = (sum(attack[key] for attack in report["attacks"]) for key in ("seconds", "gradients"))
    if not gradients:
        raise Problem("no image is classified correctly, so none was attacked")
    return {
        "seconds": seconds,
        "gradients_per_second": gradients / seconds,
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
            row.note = accuracies(rounds, [way, *LIBRARIES])
        found += beside
    return found


def accuracies(rounds, programs):
    """What all say of the robustness, for a speed that finds less would be none, and their gradients."""
    said = []
    for who in programs:
        robust, rates = (pairs(rounds, (who, key))[0] for key in ("robust_accuracy", "gradients_per_second"))
        if robust:
            said.append(f"{who} {robust[0]:.2%} robust" + (f", {figure(rates)} gradients/s" if rates else ""))
    return "; ".join(said)
