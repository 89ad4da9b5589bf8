"""An MLP head: one hidden layer on standardised features, trained on the CPU until validation stops improving.

Letters: n images, d features, c classes.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.features import MAX_SINGLE_THREAD, FeatureSet
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.mlp_params import MlpParams
from stages.graft.heads.standardisation import Standardisation, fit_standardisation
from stages.graft.metrics.training_curve import Epoch, best_epoch, measure_epoch


def fit_mlp(
    train: FeatureSet,
    val: FeatureSet,
    weights: ClassWeights,
    params: MlpParams,
    log: Callable[[int, dict[str, float]], None],
) -> tuple[Head, dict[str, float], list[Epoch]]:
    """Train, and keep the epoch with the lowest validation log loss; of equal ones, the first.

    Args:
        train: images to train on.
        val: images that choose the epoch.
        weights: weight of each class in both losses, shape (c,).
        params: the section `train_head.mlp`.
        log: called after every epoch with its number and its metrics.
    Returns:
        The head; for the report, the epoch kept and the number of epochs; the results of every epoch.
    Raises:
        DataError: the loss is not finite.
    """
    standardisation = fit_standardisation(train.x)
    x, y = torch.from_numpy(standardisation.apply(train.x)), torch.from_numpy(train.y)
    val_x = torch.from_numpy(standardisation.apply(val.x))
    curve: list[Epoch] = []
    with _own_randomness(params.seed, x.numel()), Progress(params.epochs, desc="train_head", unit="epochs") as progress:
        module = _build(x.shape[1], len(train.classes), params)
        best = copy.deepcopy(module)
        optimizer = torch.optim.AdamW(module.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
        for number in range(1, params.epochs + 1):
            train_loss = _train_epoch(module, optimizer, x, y, torch.from_numpy(weights).float(), params.batch_size)
            curve.append(measure_epoch(number, train_loss, _logits(module, val_x), val.y, weights))
            log(number, curve[-1].metrics())
            progress.advance()
            if best_epoch(curve) is curve[-1]:
                best = copy.deepcopy(module)
            if number - best_epoch(curve).epoch >= params.patience:
                break
    choices: dict[str, float] = {"epoch": best_epoch(curve).epoch, "num_epochs": len(curve)}
    return _head(best, standardisation, train.classes), choices, curve


@contextmanager
def _own_randomness(seed: int, size: int) -> Iterator[None]:
    """Seed torch, and use one thread for few features; restore both at the end."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1 if size < MAX_SINGLE_THREAD else num_threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(num_threads)


def _build(num_features: int, num_classes: int, params: MlpParams) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_features, params.hidden_size),
        nn.Sequential(nn.ReLU(), nn.Dropout(params.dropout)),
        nn.Linear(params.hidden_size, num_classes),
    )


def _train_epoch(
    module: nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, weights: Tensor, batch_size: int
) -> float:
    """Make one pass over the images in random order, and compute the mean loss."""
    module.train()
    total = 0.0
    for rows in torch.split(torch.randperm(len(x)), batch_size):
        loss = functional.cross_entropy(module(x[rows]), y[rows], weight=weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(rows)
    if not math.isfinite(total):
        raise DataError("the loss is not finite; lower train_head.mlp.learning_rate")
    return total / len(x)


def _logits(module: nn.Sequential, x: Tensor) -> Float32:
    module.eval()
    with torch.inference_mode():
        return np.asarray(module(x).numpy())


def _head(module: nn.Sequential, standardisation: Standardisation, classes: tuple[str, ...]) -> Head:
    first, last = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in module if isinstance(layer, nn.Linear)
    ]
    return Head(kind="mlp", classes=classes, layers=(standardisation.fold(*first), last))
