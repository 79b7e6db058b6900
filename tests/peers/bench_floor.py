"""What this machine can do at best, by PyTorch: products of matrices, and copies in memory.

    .peers/bin/python tests/peers/bench_floor.py --archs resnet20,resnet18 --threads 2 --json P

Per second: multiplications and additions of the fastest of several products of square matrices, in
float32 and in bf16, and bytes read and written by a copy that no cache holds. Every core multiplies by
itself and the best of each is added up: a product that cores share waits for the slowest, which on a
machine that does other work too would be no limit. Also how many multiplications and additions a forward
pass of each network takes for an image, in its convolutions and linear layers.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

import torch

import reference_networks

SIZES = (256, 512, 1024, 2048)
COPY = 256 * 2**20


def best(work, device, seconds):
    """The least seconds of `work`, after a run that does not count."""
    least, started = float("inf"), None
    while started is None or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if started is None:
            started = time.perf_counter()
        else:
            least = min(least, time.perf_counter() - before)
    return least


def product_rate(kind, device, threads, seconds):
    """Multiplications and additions per second, by size."""

    def alone(n):
        torch.set_num_threads(1)
        a, b = torch.rand(n, n, dtype=kind, device=device), torch.rand(n, n, dtype=kind, device=device)
        out = torch.empty(n, n, dtype=kind, device=device)
        return 2 * n**3 / best(lambda: torch.mm(a, b, out=out), device, seconds)

    # A product lets go of Python's lock.
    with ThreadPoolExecutor(threads) as pool:
        return {n: sum(pool.map(alone, [n] * threads)) for n in SIZES}


def copy_rate(device, seconds):
    """Bytes per second that a copy reads and writes."""
    source = torch.ones(COPY, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPY / best(lambda: target.copy_(source), device, seconds)


def operations(arch):
    """Multiplications and additions of a forward pass for one 32 × 32 image."""
    network = reference_networks.build(arch, 32, 10, (0.5,) * 3, (0.25,) * 3)
    count = 0

    def hook(module, _, output):
        nonlocal count
        positions = output[0, 0].numel() if output.dim() == 4 else 1
        count += 2 * module.weight.numel() * positions

    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archs", default="resnet20,resnet18")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each size")
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    kinds = {"float32": torch.float32, "bf16": torch.bfloat16}
    threads = arguments.threads if device.type == "cpu" else 1
    products = {name: product_rate(kind, device, threads, arguments.seconds) for name, kind in kinds.items()}
    torch.set_num_threads(arguments.threads)
    result = {
        **{name: max(rates.values()) for name, rates in products.items()},
        "copy": copy_rate(device, arguments.seconds),
        "products": products,
        "operations": {arch: operations(arch) for arch in arguments.archs.split(",")},
        "program": f"torch {torch.__version__}",
    }
    with open(arguments.json, "w") as file:
        json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
