"""Writes what the objectives of the papers are by PyTorch: `tests/parity/objectives.safetensors`.

    .peers/bin/python tests/peers/objectives.py

For every case a loss, its gradient for every parameter and the running statistics after it, in
float64, on a small network with the weights of `formula.py`, batch normalisation in training mode,
and fixed adversarial images. Written from the papers' formulas; where a paper leaves something open,
from its authors' code, which is named. Gradients and statistics are one vector each, the tensors
in the order of their sorted names.

A ReLU whose input is zero but for rounding has one gradient or another. So the images are drawn with
the seed, of `SEEDS`, at which the smallest |input| / rms(input) of any ReLU in any case is largest.
"""

import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import formula
import reference_networks
from goldens import load_formula

ARCH, WIDTH, SIZE, CLASSES, COUNT = "resnet8", 2, 8, 5, 8
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
EPS = 8 / 255
SEEDS = 40


def smooth(labels, smoothing):
    """Labels that give `smoothing` away to the other classes, as Gowal et al.'s and SCORE's code."""
    other = smoothing / (CLASSES - 1)
    return F.one_hot(labels, CLASSES).double() * (1 - smoothing - other) + other


def cross_entropy(logits, targets):
    return -(targets.to(logits) * logits.log_softmax(1)).sum(1).mean()


def divergence(clean, adversarial):
    """KL(p || p') of each image."""
    p = clean.softmax(1)
    return (p * (clean.log_softmax(1) - adversarial.log_softmax(1))).sum(1)


def standard(network, clean, adversarial, labels, case):
    logits = network(clean)
    return cross_entropy(logits, smooth(labels, case.get("label_smoothing", 0.0)))


def at(network, clean, adversarial, labels, case):
    """Madry et al. 2018, equation 2.1."""
    logits = network(adversarial)
    return cross_entropy(logits, smooth(labels, case.get("label_smoothing", 0.0)))


def trades(network, clean, adversarial, labels, case):
    """Zhang et al. 2019, equation 5."""
    natural, robust = network(clean), network(adversarial)
    targets = smooth(labels, case.get("label_smoothing", 0.0))
    return cross_entropy(natural, targets) + case["beta"] * divergence(natural, robust).mean()


def mart(network, clean, adversarial, labels, case):
    """Wang et al. 2020, equations 7, 8 and 11."""
    natural, robust = network(clean), network(adversarial)
    p, q, rows = natural.softmax(1), robust.softmax(1), torch.arange(len(labels))
    wrong = q.masked_fill(F.one_hot(labels, CLASSES).bool(), 0).max(1).values
    boosted = -torch.log(q[rows, labels]) - torch.log(1 - wrong)
    weighted = divergence(natural, robust) * (1 - p[rows, labels])
    return (boosted + case["beta"] * weighted).mean()


def score(network, clean, adversarial, labels, case):
    """Pang et al. 2022, section 5, with the clipping of without_DDPM/train_cifar.py."""
    targets = smooth(labels, case.get("label_smoothing", 0.0))
    if "beta" in case:
        p, q = network(clean).softmax(1), network(adversarial).softmax(1)
        loss = ((p - targets.to(p)) ** 2).sum(1) + case["beta"] * ((q - p) ** 2).sum(1)
    else:
        q = network(adversarial).softmax(1)
        loss = ((q - targets.to(q)) ** 2).sum(1)
    clip = case.get("loss_clip", 0.0)
    good = torch.full((CLASSES,), clip / (CLASSES - 1), dtype=torch.float64)
    good[0] = 1 - clip
    bound = ((good - smooth(torch.tensor([0]), 0.0)[0]) ** 2).sum().item()
    return F.relu(loss - bound).mean()


OBJECTIVES = {"standard": standard, "at": at, "trades": trades, "mart": mart, "score": score}
CASES = {
    "standard": {"method": "standard"},
    "standard-smooth": {"method": "standard", "label_smoothing": 0.2},
    "at": {"method": "at"},
    "at-smooth": {"method": "at", "label_smoothing": 0.1},
    "at-awp": {"method": "at", "awp_gamma": 0.01},
    "at-clipped": {"method": "at", "clip_gradient": 0.5},
    "trades": {"method": "trades", "beta": 6.0},
    "trades-smooth": {"method": "trades", "beta": 5.0, "label_smoothing": 0.1},
    "trades-awp": {"method": "trades", "beta": 6.0, "awp_gamma": 0.005},
    "mart": {"method": "mart", "beta": 5.0},
    "mart-awp": {"method": "mart", "beta": 5.0, "awp_gamma": 0.005},
    "score": {"method": "score"},
    "score-clipped": {"method": "score", "loss_clip": 0.85},
    "score-trades": {"method": "score", "beta": 4.0, "loss_clip": 0.85},
    "score-awp": {"method": "score", "loss_clip": 0.4, "awp_gamma": 0.01},
}


def perturb(network, loss_of, gamma):
    """Wu et al. 2020, equations 6 to 9, as utils_awp.py of csdongxian/AWP: a step of a proxy on
    the negated loss, rescaled to the length of each weight."""
    proxy = copy.deepcopy(network)
    optimizer = torch.optim.SGD(proxy.parameters(), lr=0.01)
    optimizer.zero_grad()
    (-loss_of(proxy)).backward()
    optimizer.step()
    moved = dict(proxy.named_parameters())
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "weight" in name:
                change = moved[name] - weight
                weight.add_(gamma * weight.norm() / (change.norm() + 1e-20) * change)


def flat(tensors):
    return torch.cat([tensors[name].detach().flatten() for name in sorted(tensors)])


def evaluate(network, clean, adversarial, labels, case):
    """The loss, its gradients and the running statistics; the network itself stays as it is."""
    network = copy.deepcopy(network).train()
    objective = OBJECTIVES[case["method"]]
    loss_of = lambda network: objective(network, clean, adversarial, labels, case)
    if "awp_gamma" in case:
        perturb(network, loss_of, case["awp_gamma"])
    loss = loss_of(network)
    loss.backward()
    if "clip_gradient" in case:
        torch.nn.utils.clip_grad_norm_(network.parameters(), case["clip_gradient"])
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    running = {name: b for name, b in network.named_buffers() if "running" in name}
    return {"loss": loss.detach().reshape(1), "gradient": flat(gradients), "running": flat(running)}


def smallest_relu_input(work):
    """The smallest |input| of any ReLU of a network while `work` runs, relative to its layer's."""
    smallest, relu = float("inf"), F.relu

    def watch(x):
        nonlocal smallest
        smallest = min(smallest, (x.abs().min() / x.square().mean().sqrt()).item())
        return relu(x)

    F.relu = watch
    try:
        work()
    finally:
        F.relu = relu
    return smallest


def draw(seed):
    clean = torch.from_numpy(formula.images(seed, (COUNT, len(MEAN), SIZE, SIZE)))
    noise = torch.from_numpy(formula.uniform(2**30 + seed, tuple(clean.shape)))
    adversarial = (clean.double() + EPS * noise.sign()).clamp(0, 1).float()
    return clean, adversarial, torch.arange(COUNT) * 7 % CLASSES


def averaged(network, decay=0.995, warmup=1, steps=5):
    """The average of gowal21uncovering/utils/watrain.py (`ema_update`) over weights that grow."""
    start = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    average = {name: weight.clone() for name, weight in start.items()}
    for step in range(1, steps + 1):
        past = step - warmup
        kept = min(decay, (1 + past) / (10 + past)) * int(step >= warmup)
        for name, weight in average.items():
            weight.mul_(kept).add_(start[name] * (1 + 0.25 * step) * (1 - kept))
    return flat(average)


def relative(a, b):
    return ((a.double() - b).norm() / b.norm()).item()


def main():
    build = lambda: reference_networks.build(ARCH, SIZE, CLASSES, MEAN, STD, WIDTH)
    single = build()
    load_formula(single)
    precise = build().double()
    precise.load_state_dict(single.state_dict())
    everything = lambda seed: [
        evaluate(precise, c.double(), a.double(), y, case)
        for c, a, y in [draw(seed)]
        for case in CASES.values()
    ]
    margins = {seed: smallest_relu_input(lambda: everything(seed)) for seed in range(SEEDS)}
    seed = max(margins, key=margins.get)
    clean, adversarial, labels = draw(seed)
    print(f"seed {seed}, smallest ReLU input {margins[seed]:.1e}; float32 PyTorch is off by")
    tensors = {"adversarial": adversarial, "labels": labels.float()}
    for (name, case), expected in zip(CASES.items(), everything(seed)):
        found = evaluate(single, clean, adversarial, labels, case)
        errors = {part: relative(found[part], expected[part]) for part in expected}
        print(f"  {name}: " + ", ".join(f"{part} {error:.1e}" for part, error in errors.items()))
        tensors |= {f"{name}/{part}": values.float() for part, values in expected.items()}
    tensors["average"] = averaged(precise).float()
    spec = {"name": ARCH, "input": [3, SIZE, SIZE], "classes": CLASSES, "mean": MEAN, "std": STD}
    metadata = {
        "arch": json.dumps(spec | {"width": WIDTH}),
        "seed": str(seed),
        "cases": json.dumps(CASES),
        "torch": torch.__version__,
    }
    path = Path(__file__).resolve().parents[1] / "parity" / "objectives.safetensors"
    save_file(tensors, path, metadata)


if __name__ == "__main__":
    main()
