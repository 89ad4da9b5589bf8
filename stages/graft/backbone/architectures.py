"""torchvision's classification networks by name: build one, find its output layer, cut it off."""

import difflib
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual as MobileNetV2Block
from torchvision.models.mobilenetv3 import InvertedResidual as MobileNetV3Block
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.models.resnet import BasicBlock, Bottleneck

from stages.graft.backbone.timm_networks import build_timm
from stages.graft.backbone.weights import TIMM
from stages.graft.core.errors import ParamsError, WeightsError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, of RGB in [0, 1], over ImageNet's training images: what torchvision's weights expect."""


def build_network(architecture: str, num_classes: int) -> nn.Module:
    """Build a classification network of torchvision or, as timm:<name>, of timm, with weights from torch's generator.

    Raises:
        ParamsError: no network has that name; the message lists the nearest ones.
    """
    if architecture.startswith(TIMM):
        return build_timm(architecture, num_classes)
    names = torchvision.models.list_models(module=torchvision.models)
    if architecture not in names:
        near = difflib.get_close_matches(architecture, names, n=5, cutoff=0.4) or names
        raise ParamsError(f"`backbone.name`: torchvision has no network {architecture!r}; nearest: {', '.join(near)}")
    # The auxiliary outputs of GoogLeNet and Inception serve their own training only.
    auxiliary = {"aux_logits": False, "init_weights": True} if architecture in ("googlenet", "inception_v3") else {}
    network: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=num_classes, **auxiliary)
    return network


def zero_residuals(network: nn.Module) -> None:
    """Start every residual block as the identity: the scale of its last batch-norm becomes zero, in place.

    Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.1. Without it a deep, narrow network spends
    its first thousands of steps on finding a scale.
    """
    for block in network.modules():
        match block:
            case BasicBlock():
                last = block.bn2
            case Bottleneck():
                last = block.bn3
            case ResBottleneckBlock():
                last = block.f.c[1]
            case MobileNetV2Block(use_res_connect=True):
                last = block.conv[-1]
            case MobileNetV3Block(use_res_connect=True):
                last = block.block[-1][1]
            case _:
                continue
        nn.init.zeros_(last.weight)


def output_layer(network: nn.Module) -> str:
    """Name the layer that turns features into class scores: the last linear one or, in SqueezeNet, convolution."""
    if hasattr(network, "get_classifier"):  # timm knows its own
        classifier = cast(Any, network).get_classifier()
        return str(next(name for name, module in network.named_modules() if module is classifier))
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    return str(layers[-1])


def cut_output(network: nn.Module) -> nn.Module:
    """Replace the output layer, in place, so that the network gives penultimate features of shape (n, d).

    SqueezeNet ends in a convolution, a ReLU and an average; there the maps before the convolution are averaged.
    """
    if hasattr(network, "reset_classifier"):
        cast(Any, network).reset_classifier(0)
        return network
    name = output_layer(network)
    parent, _, child = name.rpartition(".")
    if isinstance(network.get_submodule(name), nn.Conv2d):
        network.set_submodule(parent, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    else:
        setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def load_weights(network: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Load weights by name, whatever their precision; batch counters and auxiliary outputs may be absent or extra.

    Raises:
        WeightsError: names or shapes do not fit; the first misfit is named.
    """
    expected = network.state_dict()
    given = {name: value for name, value in weights.items() if not name.lower().startswith("aux")}
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    extra = [name for name in given if name not in expected]
    odd = [name for name in expected if name in given and expected[name].shape != given[name].shape]
    if missing or extra or odd:
        what = f"{len(missing)} missing, {len(extra)} unknown, {len(odd)} of another shape"
        first = [*missing, *extra, *odd][0]
        raise WeightsError(f"{origin} does not fit {type(network).__name__}: {what} (first: {first})")
    network.load_state_dict(expected | {name: given[name].to(expected[name].dtype) for name in given})


def build_fitting(architecture: str, weights: dict[str, Tensor]) -> nn.Module:
    """Build a network with as many classes as a checkpoint's output layer scores.

    Raises:
        WeightsError: the checkpoint holds no such output layer.
    """
    network = build_network(architecture, 1000)
    name = f"{output_layer(network)}.weight"
    if name not in weights:
        raise WeightsError(f"the weights hold no output layer `{name}`; they are not of {architecture}")
    num_classes = len(weights[name])
    return network if num_classes == 1000 else build_network(architecture, num_classes)


def normalise(x: Tensor) -> Tensor:
    """Bring RGB in [0, 1], shape (n, 3, h, w), to the scale ImageNet networks are trained on."""
    mean = torch.tensor(MEAN, device=x.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=x.device).view(1, 3, 1, 1)
    return (x - mean) / std
