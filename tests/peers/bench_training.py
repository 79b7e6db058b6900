"""Images per second of PyTorch, eager and float32, doing what `rift-trainer bench` does.

    .peers/bin/python tests/peers/bench_training.py --arch resnet18 --batch 64 --threads 2 --json P

`gradient`: logits and input gradient, evaluation mode, frozen parameters. `forward`: logits alone.
`at_step`: PGD-10 in evaluation mode with frozen parameters, then one SGD step on its images.
"""

import argparse
import json
import time

import torch
from torch.nn import functional as F

import reference_networks

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


def gradient(network, images, labels):
    images = images.detach().requires_grad_(True)
    loss = F.cross_entropy(network(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


def forward(network, images):
    with torch.inference_mode():
        return network(images)


def at_step(network, optimizer, images, labels):
    network.eval().requires_grad_(False)
    adversarial = (images + torch.empty_like(images).uniform_(-EPS, EPS)).clamp_(0, 1)
    for _ in range(STEPS):
        adversarial = adversarial + STEP * gradient(network, adversarial, labels).sign()
        adversarial = (images + (adversarial - images).clamp(-EPS, EPS)).clamp(0, 1)
    network.train().requires_grad_(True)
    optimizer.zero_grad()
    F.cross_entropy(network(adversarial), labels).backward()
    optimizer.step()
    network.eval().requires_grad_(False)


def rate(work, batch, seconds):
    """Images per second of `work`, over at least `seconds` after one run to warm up."""
    work()
    start = time.perf_counter()
    runs = 0
    while runs < 1 or time.perf_counter() - start < seconds:
        work()
        runs += 1
    return runs * batch / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
    network = reference_networks.build(arguments.arch, 32, 10, mean, std).requires_grad_(False)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.rand(arguments.batch, 3, 32, 32)
    labels = torch.randint(10, (arguments.batch,))
    measure = lambda work: rate(work, arguments.batch, arguments.seconds)
    result = {
        "program": f"torch {torch.__version__}",
        "arch": arguments.arch,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "images_per_second": {
            "forward": measure(lambda: forward(network, images)),
            "gradient": measure(lambda: gradient(network, images, labels)),
            "at_step": measure(lambda: at_step(network, optimizer, images, labels)),
        },
    }
    with open(arguments.json, "w") as file:
        json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
