"""The networks of Rift's files as PyTorch modules: of a checkpoint, or of a bundle."""

import json

import onnx
import torch
from safetensors import safe_open
from torch.nn.utils.fusion import fuse_conv_bn_eval

import reference_networks


def load_network(path):
    """The network of a bundle, which is a folder, or of a checkpoint, in evaluation mode."""
    network, state = (of_bundle if path.is_dir() else of_checkpoint)(path)
    missing, unexpected = network.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    assert not missing and not unexpected, (missing, unexpected)
    return network.requires_grad_(False)


def build(arch):
    """The network that Rift's files describe as `arch`."""
    mean, std = arch["mean"], arch["std"]
    return reference_networks.build(arch["name"], arch["input"][1], arch["classes"], mean, std, arch.get("width"))


def of_checkpoint(path):
    """The network that the header describes, and its weights."""
    with safe_open(path, "pt") as file:
        arch = json.loads(file.metadata()["rift"])["arch"]
        return build(arch), {name: file.get_tensor(name) for name in file.keys()}


def of_bundle(folder):
    """The network that the card describes, and the weights of the ONNX file, whose convolutions hold the
    normalisation's scale."""
    network = build(json.loads((folder / "card.json").read_text())["arch"])
    state = network.state_dict()
    for name, value in state.items():
        # A batch normalisation that adds its bias and changes nothing else, but costs what it costs.
        if name.endswith("running_var"):
            state[name] = torch.ones_like(value)
        elif name.endswith("running_mean"):
            state[name] = torch.zeros_like(value)
    for norm, scale in [(n, m.eps) for n, m in network.named_modules() if hasattr(m, "eps")]:
        state[f"{norm}.weight"] = torch.full_like(state[f"{norm}.weight"], (1 + scale) ** 0.5)
    for tensor in onnx.load(folder / "model.onnx").graph.initializer:
        value = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        layer, _, kind = tensor.name.rpartition(".")
        if layer == "normalize":
            continue
        if kind == "bias" and tensor.name not in state:
            state[f"{normalisation(layer)}.bias"] = value
        else:
            state[tensor.name] = value
    return network, state


def normalisation(convolution):
    """The name of the batch normalisation that follows a convolution in a ResNet."""
    before, _, last = convolution.rpartition(".")
    return f"{before}.{int(last) + 1}" if last.isdigit() else convolution.replace("conv", "bn")


def folded(network):
    """A ResNet of BasicBlocks that computes the same faster: its convolutions hold the normalisation, and inside
    it channels come last in memory."""
    for name, convolution in list(network.named_modules()):
        if isinstance(convolution, torch.nn.Conv2d):
            norm = normalisation(name)
            network.set_submodule(name, fuse_conv_bn_eval(convolution, network.get_submodule(norm)))
            network.set_submodule(norm, torch.nn.Identity())
    last = {"memory_format": torch.channels_last}
    network.register_forward_pre_hook(lambda _, images: images[0].contiguous(**last))
    return network.to(**last).requires_grad_(False)
