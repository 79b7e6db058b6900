"""AutoAttack by torchattacks or by its authors' program, to compare with `rift-runtime audit`.

    .peers/bin/python tests/peers/torchattacks_autoattack.py BUNDLE|CHECKPOINT \
        --data ../shared/data/cifar10 --limit 1000 --audit audit.json [--keep FOLDER] \
        [--attack autoattack] [--steps 100] [--queries 5000] [--original ../auto-attack] [--fold] \
        [--threads 1] [--json P]

The audit is one of the bundle with the same `--attack`, of the same first test images, of which the first
`--limit` are compared; norm and eps are taken from it. The peer attacks the images that are classified
correctly by `apgd-ce`, `apgd-t`, `fab-t` or `square` alone, or by all four one after the other as AutoAttack
does (`fast`: the first two), each stage those that the ones before have left. It is torchattacks, or with `--original` a checkout of
https://github.com/fra31/auto-attack. What torchattacks calls the standard version takes 10 iterations where
the authors' takes 100; here both take `--steps`. `--fold` computes the same faster, so its times say
nothing. Prints what survives each stage with both, and how many images they judge differently. `--keep` keeps
the verdicts of every batch: started again, it goes on from there.
"""

import argparse
import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import torch
import torchattacks

from saved_networks import folded, load_network
from torchattacks_pgd import cifar10_test, judge

STAGES = ["apgd-ce", "apgd-t", "fab-t", "square"]
COMPOSITIONS = {"autoattack": STAGES, "fast": STAGES[:2]}


def by_torchattacks(network, norm, eps, classes, steps, queries):
    """The stages as torchattacks puts them together, by name."""
    whole = torchattacks.AutoAttack(
        network, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, version="standard",
        n_classes=classes,
    )
    stages = dict(zip(STAGES, whole._autoattack.attacks, strict=True))
    for name in STAGES[:3]:
        stages[name].steps = steps
    stages["square"].n_queries = queries
    return stages


def by_authors(network, norm, eps, folder, steps, queries):
    """The stages of the authors' program, by name."""
    sys.path.insert(0, str(folder))
    from autoattack import AutoAttack

    def stage(name):
        whole = AutoAttack(
            network, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, seed=0, device="cpu",
            version="standard", verbose=False,
        )
        whole.attacks_to_run = [name]
        whole.apgd.n_iter = whole.apgd_targeted.n_iter = whole.fab.n_iter = steps
        whole.square.n_queries = queries
        return lambda images, labels: whole.run_standard_evaluation(images, labels, bs=len(images))

    return {name: stage(name) for name in STAGES}


def attack_batch(network, stages, images, labels):
    """Whether each image survives every stage so far, and the stages' seconds."""
    robust = judge(network, images, labels, len(images))
    result = {"clean": robust.tolist(), "survives": {}, "seconds": {}}
    for name, attack in stages.items():
        started = time.perf_counter()
        rows = robust.nonzero().squeeze(1)
        if len(rows):
            torch.manual_seed(0)
            adversarial = attack(images[rows], labels[rows]).detach()
            robust[rows] = judge(network, adversarial, labels[rows], len(rows))
        result["survives"][name] = robust.tolist()
        result["seconds"][name] = time.perf_counter() - started
    return result


def attack_all(network, stages, images, labels, arguments):
    """The results of all batches, those that are kept among them."""
    for start in range(0, len(images), arguments.batch):
        path = arguments.keep and arguments.keep / f"{start}.json"
        if path and path.exists():
            yield json.loads(path.read_text())
            continue
        rows = slice(start, start + arguments.batch)
        result = attack_batch(network, stages, images[rows], labels[rows])
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".part").write_text(json.dumps(result))
            path.with_suffix(".part").rename(path)
        print(f"{start + len(result['clean'])} of {len(images)}", file=sys.stderr, flush=True)
        yield result


def alone(results, names):
    """The peer's figures."""
    n = sum(len(r["clean"]) for r in results)
    robust = {name: sum(sum(r["survives"][name]) for r in results) / n for name in names}
    seconds = {name: sum(r["seconds"][name] for r in results) for name in names}
    rows = [{"stage": s, "peer": robust[s], "peer_seconds": seconds[s]} for s in names]
    return {"n": n, "stages": rows}


def report(audit, results, names):
    """Prints a row a stage beside the audit's, and returns the figures."""
    samples = audit["samples"][: sum(len(r["clean"]) for r in results)]
    n = len(samples)
    ours = [s.get("broken_by") is None for s in samples]
    theirs = [verdict for r in results for verdict in r["survives"][names[-1]]]
    rows = []
    print(f"{'stage':<10} {'rift':>8} {'peer':>8} {'points':>7} {'rift s':>8} {'peer s':>8}")
    broken = sum(s.get("broken_by") == "clean" for s in samples)
    for attack in audit["attacks"]:
        name = attack["name"]
        broken += sum(s.get("broken_by") == name for s in samples)
        row = {
            "stage": name,
            "rift": (n - broken) / n,
            "peer": sum(sum(r["survives"][name]) for r in results) / n,
            "rift_seconds": attack.get("seconds"),
            "peer_seconds": sum(r["seconds"][name] for r in results),
        }
        rows.append(row)
        difference = (row["rift"] - row["peer"]) * 100
        print(
            f"{name:<10} {row['rift']:8.2%} {row['peer']:8.2%} {difference:+7.2f} "
            f"{row['rift_seconds'] or 0:8.1f} {row['peer_seconds']:8.1f}"
        )
    differ = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    print(f"{len(differ)} of {n} images judged differently in the end: {differ}")
    return {"n": n, "stages": rows, "images_judged_differently": differ}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path, help="a bundle or a checkpoint")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--audit", type=Path, help="of the bundle; without it the peer attacks alone")
    parser.add_argument("--norm", choices=["linf", "l2"], default="linf")
    parser.add_argument("--eps", default="8/255")
    parser.add_argument("--attack", choices=[*STAGES, *COMPOSITIONS], default="autoattack")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="of APGD and FAB")
    parser.add_argument("--queries", type=int, default=5000, help="of square")
    parser.add_argument("--original", type=Path, help="a checkout of the authors' program")
    parser.add_argument("--fold", action="store_true", help="for accuracies: a faster form of the network")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    audit = arguments.audit and json.loads(arguments.audit.read_text())
    if audit:
        arguments.norm, arguments.eps = audit["threat"]["norm"], audit["threat"]["eps"]
        arguments.limit = min(arguments.limit, len(audit["samples"]))
    network = load_network(arguments.network).eval()
    network = folded(network) if arguments.fold else network
    images, labels = cifar10_test(arguments.data, arguments.limit)
    eps = float(Fraction(arguments.eps))
    if arguments.original:
        stages = by_authors(network, arguments.norm, eps, arguments.original, arguments.steps, arguments.queries)
    else:
        classes = network(images[:1]).shape[1]
        stages = by_torchattacks(network, arguments.norm, eps, classes, arguments.steps, arguments.queries)
    names = COMPOSITIONS.get(arguments.attack, [arguments.attack])
    stages = {name: stages[name] for name in names}
    results = list(attack_all(network, stages, images, labels, arguments))
    figures = report(audit, results, names) if audit else alone(results, names)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
