"""The precision of training: bf16 where the processor has it and is faster with it."""

import torch
from torch import nn

MAX_DEPTHWISE_SHARE = 0.02
"""Largest share of the trained weights in depthwise convolutions with which bf16 is faster on a CPU: there the
gradients of most of them take 3 to 15 times as long in bf16 as in fp32, those of other layers half as long."""


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Decide whether a device computes forward passes in bf16; with auto, it does where the hardware has it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False))


def trains_in_bf16(network: nn.Module, precision: str, device: torch.device) -> bool:
    """Decide whether a network is trained in bf16; with auto, by the layers that are trained.

    The decision is no timing: the same network and processor always train with the same bits.
    """
    if precision != "auto" or device.type == "cuda":
        return computes_in_bf16(precision, device)
    return computes_in_bf16(precision, device) and depthwise_share(network) <= MAX_DEPTHWISE_SHARE


def depthwise_share(network: nn.Module) -> float:
    """Share of a network's weights, which must have some, that are in depthwise convolutions, in [0, 1]."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    depthwise = [layer for layer in convolutions if 1 < layer.groups == layer.in_channels]
    total = sum(weight.numel() for weight in network.parameters())
    return sum(layer.weight.numel() for layer in depthwise) / total
