"""The networks that are measured: a trained one where there is one, else random weights."""

import json
from pathlib import Path

from measure import Problem
from programs import RELEASE, ROOT

# Where a trained network and its images are looked for.
ZOO = ROOT / "models" / "zoo" / "cifar10-resnet20-rift" / "bundle"
CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10"


class Networks:
    """Bundles by architecture, made once by the real exporter."""

    def __init__(self, programs, folder, arguments):
        self.programs, self.folder = programs, folder
        self.given, self.checkpoint = arguments.bundle, arguments.checkpoint
        self.data = arguments.data or (CIFAR10 if CIFAR10.exists() else None)
        self.random = {}

    def trained(self):
        """The bundle of a trained network, given or found, or none."""
        if self.given is None and self.checkpoint is not None:
            self.given = self.export(self.checkpoint, "trained")
        if self.given is None and (ZOO / "model.onnx").exists():
            self.given = ZOO
        return self.given

    def bundle(self, arch):
        """A bundle of `arch`: the trained one if that is of `arch`, else one of random weights."""
        trained = self.trained()
        if trained and architecture(trained)["name"] == arch:
            return trained
        if arch not in self.random:
            folder = self.folder / f"golden-{arch}"
            self.programs.call([RELEASE / "golden", arch, folder])
            # Random weights give logits far from 1, for which the usual tolerance is not meant.
            more = ["--probe", folder / "probe.safetensors", "--tolerance", "0.1"]
            self.random[arch] = self.export(folder / "checkpoint.safetensors", arch, more)
        return self.random[arch]

    def export(self, checkpoint, name, more=()):
        """The bundle of a checkpoint."""
        out = self.folder / f"bundle-{name}"
        self.programs.call([RELEASE / "rift-exporter", "export", "--checkpoint", checkpoint, "--out", out, *more])
        return out


def architecture(bundle):
    """What a bundle's card says of its network."""
    path = Path(bundle) / "card.json"
    try:
        return json.loads(path.read_text())["arch"]
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from error
