"""Gentle training of a pretrained network: learning rates by depth, a pull towards the start, an average of weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.graft.training.finetune_params import FinetuneParams

MOMENTUM = 0.9
"""Momentum of SGD."""


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], depths: Mapping[str, int], params: FinetuneParams
) -> torch.optim.Optimizer:
    """Group parameters by depth and by whether weight decay applies; the head has the full learning rate.

    Args:
        parameters: trained parameters by name.
        depths: number of blocks after each parameter's block, by name; 0 for the head.
        params: the section `finetune`.
    Source of layer_decay: Howard and Ruder, ULMFiT, ACL 2018, section 3.2, as one factor.
    """
    members: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        members.setdefault((depths[name], parameter.ndim > 1), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for depth, decays in sorted(members):
        rate = params.learning_rate * params.layer_decay**depth
        weight_decay = params.weight_decay if decays else 0.0
        groups.append({"params": members[depth, decays], "lr": rate, "initial_lr": rate, "weight_decay": weight_decay})
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups)


def make_scheduler(
    optimizer: torch.optim.Optimizer, params: FinetuneParams, steps_per_epoch: int, epochs_done: int
) -> LambdaLR:
    """Let the learning rates rise linearly in the warm-up, then fall to zero by half a cosine.

    `epochs_done` are the finished epochs of a training that is resumed.
    """
    num_steps, num_warmup = params.epochs * steps_per_epoch, params.warmup_epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))

    return LambdaLR(optimizer, factor, last_epoch=epochs_done * steps_per_epoch - 1)


def pull_to_start(parameters: Mapping[str, nn.Parameter], start: Mapping[str, Tensor], strength: float) -> None:
    """Add the pull towards the pretrained weights to the gradients, in place.

    Source: Li, Grandvalet and Davoine, L2-SP, ICML 2018, eq. 2: the gradient of strength / 2 times the squared
    distance.
    """
    for name, parameter in parameters.items():
        if name in start and parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - start[name], alpha=strength)


def average_weights(network: nn.Module, decay: float) -> AveragedModel:
    """Start an exponential moving average of a network's weights, which begins with the present ones.

    The decay of step t is at most (1 + t) / (10 + t): the start has little weight in the average of a short training.
    """

    def update(averages: Any, weights: Any, num_averaged: Tensor | int) -> None:
        limit = int(num_averaged) / (9 + int(num_averaged))
        get_ema_multi_avg_fn(min(decay, limit))(averages, weights, num_averaged)  # type: ignore[no-untyped-call]

    average = AveragedModel(network, multi_avg_fn=update)
    average.n_averaged.fill_(1)
    average.eval()  # copying a traced network puts its layers in training mode
    return average
