"""Images per second of PyTorch doing what `rift-trainer bench` does, in one of three ways.

    .peers/bin/python tests/peers/bench_training.py --way tuned --arch resnet18 --batch 128 --json P

`reference`: as the reference repositories craft: float32, eager, the default layout, the mean
cross-entropy, and `loss.backward()`, which computes the gradients of all parameters too.
`frozen`: float32, eager, no gradient for any parameter while crafting.
`tuned`: bf16 autocast, channels-last, frozen parameters, and `torch.compile` with `--compile`.

`gradient`: logits and input gradient in evaluation mode. `forward`: logits alone. `at_step`: PGD-10
in evaluation mode, then one SGD step on its images. The peak of the memory is the process's
resident set, and on a GPU what PyTorch's allocator held.
"""

import argparse
import contextlib
import json
import re
import time

import torch
from torch.nn import functional as F

import reference_networks

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


class Way:
    """A network, its optimiser and how they are driven."""

    def __init__(self, arguments):
        self.device = torch.device(arguments.device)
        self.way = arguments.way
        self.frozen = arguments.way != "reference"
        mean, std = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
        self.network = reference_networks.build(arguments.arch, 32, 10, mean, std).to(self.device)
        self.images = torch.rand(arguments.batch, 3, 32, 32).to(self.device)
        self.labels = torch.randint(10, (arguments.batch,)).to(self.device)
        if self.way == "tuned":
            self.network = self.network.to(memory_format=torch.channels_last)
            self.images = self.images.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        self.call = torch.compile(self.network) if arguments.compile else self.network
        self.network.eval().requires_grad_(not self.frozen)

    def logits(self, images):
        if self.way == "tuned":
            with torch.autocast(self.device.type, torch.bfloat16):
                return self.call(images).float()
        return self.call(images)

    def forward(self):
        with torch.no_grad():
            return self.logits(self.images)

    def gradient(self, images=None):
        images = (self.images if images is None else images).detach().requires_grad_(True)
        if self.frozen:
            loss = F.cross_entropy(self.logits(images), self.labels, reduction="sum")
            return torch.autograd.grad(loss, images)[0]
        F.cross_entropy(self.logits(images), self.labels).backward()
        return images.grad

    def craft(self, steps=STEPS):
        images = self.images
        adversarial = (images + torch.empty_like(images).uniform_(-EPS, EPS)).clamp_(0, 1)
        for _ in range(steps):
            adversarial = adversarial + STEP * self.gradient(adversarial).sign()
            adversarial = (images + (adversarial - images).clamp(-EPS, EPS)).clamp(0, 1)
        return adversarial

    def at_step(self, steps=STEPS):
        self.network.eval().requires_grad_(not self.frozen)
        adversarial = self.craft(steps)
        self.network.train().requires_grad_(True)
        self.optimizer.zero_grad()
        F.cross_entropy(self.logits(adversarial), self.labels).backward()
        self.optimizer.step()
        self.network.eval().requires_grad_(not self.frozen)

    def finish(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def rate(way, work, warm, arguments):
    """Images per second of `work`: the median of its repetitions."""
    for _ in range(arguments.warm):
        warm()
    way.finish()
    clock = time.process_time if arguments.clock == "processor" else time.perf_counter
    rates = []
    start = clock()
    while not rates or clock() - start < arguments.seconds:
        before = clock()
        work()
        way.finish()
        rates.append(arguments.batch / (clock() - before))
    rates.sort()
    return rates[len(rates) // 2]


def peak_memory():
    """The largest resident set of this process so far, in bytes; 0 where Linux is not."""
    with contextlib.suppress(OSError):
        with open("/proc/self/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) * 1024
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", choices=["reference", "frozen", "tuned"], default="frozen")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--measures", default="forward,gradient,at_step")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement, at least")
    parser.add_argument("--warm", type=int, default=1, help="runs before it that do not count")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.device.startswith("cuda"):
        torch.backends.cudnn.benchmark = arguments.way == "tuned"
    way = Way(arguments)
    # A step of training warms up by one step of its attack: the rest is the same again.
    work = {
        "forward": (way.forward, way.forward),
        "gradient": (way.gradient, way.gradient),
        "at_step": (way.at_step, lambda: way.at_step(1)),
    }
    names = arguments.measures.split(",")
    result = {
        "program": f"torch {torch.__version__}",
        "way": arguments.way + (", compiled" if arguments.compile else ""),
        "arch": arguments.arch,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "device": torch.cuda.get_device_name(way.device) if way.device.type == "cuda" else "cpu",
        "images_per_second": {name: rate(way, *work[name], arguments) for name in names},
        "peak_memory": peak_memory(),
    }
    if way.device.type == "cuda":
        result["peak_device_memory"] = torch.cuda.max_memory_reserved(way.device)
    with open(arguments.json, "w") as file:
        json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
