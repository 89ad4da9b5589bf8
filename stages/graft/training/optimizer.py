"""How a pretrained network is trained on gently: rates by depth, a pull towards the start, an average of weights."""

import copy
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Optimizer = Literal["adamw", "sgd"]

MOMENTUM = 0.9
"""Of SGD."""


def make_optimizer(
    kind: Optimizer, depths: Mapping[str, int], parameters: Mapping[str, nn.Parameter], layer_decay: float, decay: float
) -> torch.optim.Optimizer:
    """Group parameters by depth and by whether weight decay applies; rates are set step by step.

    Args:
        kind: adamw or sgd.
        depths: blocks above each parameter's own; 0 for the head.
        parameters: those to train, by the same names.
        layer_decay: the rate is multiplied by this once for every block above. Source: Howard and Ruder, ULMFiT,
            ACL 2018, section 3.2, as one factor.
        decay: weight decay, of parameters with two or more dimensions.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((depths[name], parameter.ndim > 1), []).append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": members, "scale": layer_decay**depth, "weight_decay": decay if decays else 0.0}
        for (depth, decays), members in sorted(groups.items())
    ]
    if kind == "sgd":
        return torch.optim.SGD(listed, lr=0.0, momentum=MOMENTUM, nesterov=True)
    return torch.optim.AdamW(listed, lr=0.0)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def rate_at(step: int, peak: float, num_steps: int, num_warmup: int) -> float:
    """A linear rise over the first steps, then half a cosine down to zero.

    Args:
        step: counted from 0.
        peak: the highest rate.
        num_steps: in all.
        num_warmup: of the rise.
    """
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))


def pull_to_start(parameters: Mapping[str, nn.Parameter], start: Mapping[str, Tensor], strength: float) -> None:
    """Add to the gradients the pull towards the pretrained weights, in place.

    Source: Li, Grandvalet and Davoine, L2-SP, ICML 2018, eq. 2: the gradient of strength / 2 times the squared
    distance.
    """
    for name, parameter in parameters.items():
        if name in start and parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - start[name], alpha=strength)


class Average:
    """An exponential moving average of a network's weights.

    Its decay grows with the steps, (1 + t) / (10 + t), until it is the one asked for: a short training is not held back
    by its beginning.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Begin with the weights as they are."""
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.num_steps = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take one step towards the network's present weights; buffers are never trained and stay."""
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        self.num_steps += 1
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, 1 - decay)
