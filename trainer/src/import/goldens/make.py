"""Makes the .pth files that the tests of `import` read, with PyTorch 2.11.0: python make.py

Every number follows from the tensor's name and the position in it, exactly representable in
half precision, so that the tests need no second file: see `value` and `tests.rs`.
"""

import argparse
import collections
import pathlib

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent


def value(name, shape):
    n = torch.Size(shape).numel()
    values = ((torch.arange(n) + 7 * len(name)) % 251).float() / 128
    return (values + 0.5 if name.endswith("running_var") else values - 1).reshape(shape)


class Block(nn.Module):
    def __init__(self, fan_in, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or fan_in != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(fan_in, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet8(nn.Module):
    """The thin ResNet of three blocks, of width 2, for grey images and 5 classes."""

    def __init__(self, width=2, classes=5):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.25]).view(1, 1, 1, 1))
        self.register_buffer("std", torch.tensor([0.5]).view(1, 1, 1, 1))
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2))
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def network():
    net = ResNet8()
    for name, tensor in net.state_dict().items():
        if name not in ("mean", "std") and not name.endswith("num_batches_tracked"):
            tensor.copy_(value(name, tensor.shape))
    return net


def wrapped():
    """As a training script saves it: wrapped, behind DataParallel, with the optimiser."""
    net = nn.DataParallel(network())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    # Only the last layer gets a gradient, and so momentum: it keeps the file small.
    net.module.linear.weight.grad = torch.zeros_like(net.module.linear.weight)
    optimiser.step()
    state = {"epoch": 110, "acc": 0.5, "net": net.state_dict(), "optimizer": optimiser.state_dict()}
    torch.save(state, HERE / "wrapped.pth")


def beside():
    """As a training script saves it, with what it keeps beside the weights in types of Python, NumPy and
    PyTorch; and with a weight as NumPy's array."""
    net = network()
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5])
    state = {
        "best_state_dict": net.state_dict(),
        "scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("runs")),
        "best": np.float64(0.5),
        "curve": np.arange(3.0),
        "seen": collections.defaultdict(list, {"a": [1]}),
        "dtype": torch.float32,
        "bytes": b"abc",
        "set": {1, 2},
        "complex": 1j,
        "device": torch.device("cpu"),
        "generator": torch.zeros(3, dtype=torch.uint8),
        "spectrum": torch.zeros(2, dtype=torch.complex64),
    }
    torch.save(state, HERE / "beside.pth")
    weights = net.state_dict()
    weights["linear.weight"] = weights["linear.weight"].numpy()
    torch.save(weights, HERE / "no-tensor.pth")


class Normalise(nn.Module):
    """The layer that many put before a published network."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.25]).view(1, 1, 1, 1))
        self.register_buffer("std", torch.tensor([0.5]).view(1, 1, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


def sequential():
    """Normalisation and network in an `nn.Sequential`, behind DataParallel."""
    inner = network()
    del inner.mean, inner.std
    torch.save(nn.DataParallel(nn.Sequential(Normalise(), inner)).state_dict(), HERE / "sequential.pth")


class ActivatedBlock(nn.Module):
    def __init__(self, fan_in, planes, stride, fast_at):
        super().__init__()
        self.fast_at = fast_at
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        if stride != 1 or fan_in != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(fan_in, planes, 1, stride, bias=False))

    def forward(self, x):
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(x if self.fast_at else out) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(out)))) + shortcut


class PreActResNet18(nn.Module):
    """The network of Rice et al. and AWP, or of fast adversarial training, of width 1, for grey images
    and 3 classes."""

    def __init__(self, width=1, classes=3, fast_at=False):
        super().__init__()
        self.normalize = Normalise()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        planes = width
        for stage in range(4):
            blocks = []
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ActivatedBlock(planes, width << stage, stride, fast_at))
                planes = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn = None if fast_at else nn.BatchNorm2d(planes)
        self.linear = nn.Linear(planes, classes)

    def forward(self, x):
        x = self.conv1(self.normalize(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = x if self.bn is None else F.relu(self.bn(x))
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


def filled(net):
    """The state of a network, with our numbers in it."""
    state = net.state_dict()
    for name, tensor in state.items():
        if not name.startswith("normalize") and not name.endswith("num_batches_tracked"):
            tensor.copy_(value(name, tensor.shape))
    return state


def preact_logits(net, file):
    images = (torch.arange(2048) % 37).float().reshape(2, 1, 32, 32) / 36
    with torch.no_grad():
        torch.save({"logits": net.eval()(images)}, HERE / file)


def preact():
    """As the robust training scripts save it: wrapped in `state_dict`, with a prefix."""
    net = PreActResNet18()
    state = {f"model.{name}": tensor for name, tensor in filled(net).items()}
    torch.save({"state_dict": state, "epoch": 200}, HERE / "preact.pth")
    preact_logits(net, "preact-logits.pth")


def fast_at():
    """As Andriushchenko & Flammarion save it: the best state and the last, without normalisation, and
    with the first layers in a second place."""
    net = PreActResNet18(fast_at=True)
    net.normalize = nn.Sequential()
    state = filled(net)
    state |= {
        "model_preact_hl1.1.weight": state["conv1.weight"],
        "model_preact_hl1.2.running_mean": state["layer1.0.bn1.running_mean"],
    }
    best = {"conv1.weight": torch.zeros_like(state["conv1.weight"])}
    torch.save({"best": best, "last": state}, HERE / "fast-at.pth")
    preact_logits(net, "fast-at-logits.pth")


def logits():
    """What PyTorch makes of two images with these weights."""
    images = (torch.arange(128) % 37).float().reshape(2, 1, 8, 8) / 36
    with torch.no_grad():
        torch.save({"images": images, "logits": network().eval()(images)}, HERE / "logits.pth")


def views():
    """Tensors that are windows onto their storage, and every type of number."""
    base = torch.arange(24, dtype=torch.float32)
    state = {
        "plain": base.reshape(2, 12),
        "transposed": base.reshape(4, 6).t(),
        "offset": base[5:11],
        "strided": base[1::5],
        "expanded": base[3:4].expand(2, 3),
        "channels_last": base.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "parameter": nn.Parameter(base[:2].clone()),
        "counter": torch.tensor(7),
    }
    torch.save({"state_dict": state}, HERE / "views.pth")
    torch.save({"state_dict": state}, HERE / "views-protocol4.pth", pickle_protocol=4)


def refused():
    """What import refuses, each with a message of its own."""
    small = {"weight": torch.zeros(2)}
    torch.save(small, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"net": small, "args": argparse.Namespace(lr=0.1)}, HERE / "namespace.pth")
    torch.save(nn.Linear(1, 1), HERE / "module.pth")
    torch.jit.script(nn.Linear(1, 1)).save(HERE / "torchscript.pth")
    torch.save({"weight": torch.tensor([1.0, float("nan")])}, HERE / "nan.pth")


wrapped()
beside()
sequential()
preact()
fast_at()
logits()
views()
refused()
