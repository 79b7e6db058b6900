"""The reference networks as plain PyTorch modules, with the reference implementation's names.

Written for these tests from the papers and the module names in published checkpoints. Inputs are
pixels in [0, 1]; normalisation is inside.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Normalised(nn.Module):
    """Keeps the mean and the standard deviation of each channel, which are no parameters."""

    def __init__(self, mean, std):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            values = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def normalise(self, x):
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)


class BasicBlock(nn.Module):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return F.relu(out)


class ResNet(Normalised):
    """`pool` is the side of the last window, or `None` for the mean over the whole image."""

    def __init__(self, blocks, width, pool, size, classes, mean, std):
        super().__init__(mean, std)
        self.blocks, self.pool = blocks, pool
        self.conv1 = nn.Conv2d(len(mean), width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        planes = width
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(planes, width << stage, stride))
                planes = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        side = 1 if pool is None else (size >> (len(blocks) - 1)) // pool
        self.linear = nn.Linear(planes * side * side, classes)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(self.normalise(x))))
        for stage in range(len(self.blocks)):
            out = getattr(self, f"layer{stage + 1}")(out)
        out = F.avg_pool2d(out, out.shape[-1] if self.pool is None else self.pool)
        return self.linear(out.flatten(1))


class ActivatedBlock(nn.Module):
    """The block of PreActResNet: a bare convolution as shortcut where the size changes, of the activated
    input or of the raw one."""

    def __init__(self, in_planes, planes, stride, activated_shortcut):
        super().__init__()
        self.activated_shortcut = activated_shortcut
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride, bias=False))

    def forward(self, x):
        act = F.relu(self.bn1(x))
        shortcut = x
        if hasattr(self, "shortcut"):
            shortcut = self.shortcut(act if self.activated_shortcut else x)
        return self.conv2(F.relu(self.bn2(self.conv1(act)))) + shortcut


class PreActResNet(Normalised):
    """As Rice et al. have it; `fast_at` as the papers on fast adversarial training do: without `bn`, and with
    raw shortcuts."""

    def __init__(self, blocks, width, size, classes, mean, std, fast_at=False):
        super().__init__(mean, std)
        self.blocks = blocks
        self.conv1 = nn.Conv2d(len(mean), width, 3, 1, 1, bias=False)
        planes = width
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(ActivatedBlock(planes, width << stage, stride, not fast_at))
                planes = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.bn = None if fast_at else nn.BatchNorm2d(planes)
        self.linear = nn.Linear(planes * (size // 32) ** 2, classes)

    def forward(self, x):
        out = self.conv1(self.normalise(x))
        for stage in range(len(self.blocks)):
            out = getattr(self, f"layer{stage + 1}")(out)
        out = out if self.bn is None else F.relu(self.bn(out))
        return self.linear(F.avg_pool2d(out, 4).flatten(1))


class PreActivationBlock(nn.Module):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.convShortcut = None
        if in_planes != planes:
            self.convShortcut = nn.Conv2d(in_planes, planes, 1, stride, bias=False)

    def forward(self, x):
        act = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(act))))
        return out + (x if self.convShortcut is None else self.convShortcut(act))


class Stage(nn.Module):
    def __init__(self, count, in_planes, planes, stride):
        super().__init__()
        blocks = [PreActivationBlock(in_planes, planes, stride)]
        blocks += [PreActivationBlock(planes, planes, 1) for _ in range(count - 1)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class WideResNet(Normalised):
    def __init__(self, depth, widen, size, classes, mean, std):
        super().__init__(mean, std)
        count = (depth - 4) // 6
        planes = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(len(mean), planes[0], 3, 1, 1, bias=False)
        self.block1 = Stage(count, planes[0], planes[1], 1)
        self.block2 = Stage(count, planes[1], planes[2], 2)
        self.block3 = Stage(count, planes[2], planes[3], 2)
        self.bn1 = nn.BatchNorm2d(planes[3])
        self.fc = nn.Linear(planes[3] * (size // 32) ** 2, classes)

    def forward(self, x):
        out = self.conv1(self.normalise(x))
        out = self.block3(self.block2(self.block1(out)))
        out = F.avg_pool2d(F.relu(self.bn1(out)), 8)
        return self.fc(out.flatten(1))


def build(name, size, classes, mean, std, width=None):
    """The network that Rift calls `name`, in evaluation mode."""
    thin = {"resnet8": [1, 1, 1], "resnet20": [3, 3, 3], "resnet32": [5, 5, 5]}
    wide = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}
    depth = {"wrn28-10": 28, "wrn34-10": 34}
    if name in thin:
        network = ResNet(thin[name], width or 16, None, size, classes, mean, std)
    elif name in wide:
        network = ResNet(wide[name], width or 64, 4, size, classes, mean, std)
    elif name in ("preactresnet18", "preactresnet18-fast-at"):
        fast_at = name == "preactresnet18-fast-at"
        network = PreActResNet([2, 2, 2, 2], width or 64, size, classes, mean, std, fast_at)
    else:
        network = WideResNet(depth[name], 10, size, classes, mean, std)
    return network.eval()
