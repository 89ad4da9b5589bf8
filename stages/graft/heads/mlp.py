"""An MLP head: one hidden layer on standardised features, trained on the CPU until validation stops improving.

Letters: n images, d features, c classes.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.standardisation import Standardisation, fit_standardisation
from stages.graft.metrics.classification import accuracy, log_loss

MANY = 2**23
"""Numbers in the features, above which several threads are worth it; one gives the same bits on any number of cores."""


@dataclass(frozen=True, kw_only=True)
class MlpRecipe:
    """How the head is built and trained."""

    hidden_size: int
    """Units of the hidden layer."""
    dropout: float
    """Share of them left out at each step, [0, 1)."""
    epochs: int
    """Passes over the training features, at most."""
    patience: int
    """Epochs without a lower validation log loss after which training ends."""
    batch_size: int
    """Images a step."""
    learning_rate: float
    """AdamW's."""
    weight_decay: float
    """AdamW's."""
    seed: int
    """Seeds the first weights, the order and the dropout."""


@dataclass(frozen=True, kw_only=True)
class MlpEpoch:
    """One epoch's outcome."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean over the epoch's steps, with dropout, in nats."""
    val_loss: float
    """After the epoch, in nats."""
    val_accuracy: float
    """Top-1 after the epoch, [0, 1]."""


def fit_mlp(
    train: FeatureSet,
    val: FeatureSet,
    weights: ClassWeights,
    recipe: MlpRecipe,
    log: Callable[[int, dict[str, float]], None],
) -> tuple[Head, dict[str, float], list[MlpEpoch]]:
    """Train, and keep the epoch of lowest validation log loss; the first of equals.

    Args:
        train: what the head is trained on.
        val: what chooses the epoch.
        weights: of each class in both losses, shape (c,).
        recipe: how to train.
        log: called after every epoch with its number and its metrics.
    Returns:
        The head; for the report, the epoch kept and how many there were; every epoch's outcome.
    Raises:
        DataError: the loss is no number any more.
    """
    standardisation = fit_standardisation(train.x)
    x, y = torch.from_numpy(standardisation.apply(train.x)), torch.from_numpy(train.y)
    val_x = torch.from_numpy(standardisation.apply(val.x))
    curve: list[MlpEpoch] = []
    with _alone(recipe.seed, x.numel()), Progress(recipe.epochs, desc="train_head", unit="epochs") as progress:
        module = _build(x.shape[1], len(train.classes), recipe)
        best = copy.deepcopy(module)
        optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        for epoch in range(1, recipe.epochs + 1):
            train_loss = _train_epoch(module, optimizer, x, y, torch.from_numpy(weights).float(), recipe.batch_size)
            curve.append(_record(epoch, train_loss, _logits(module, val_x), val, weights))
            log(epoch, {name: value for name, value in vars(curve[-1]).items() if name != "epoch"})
            progress.advance()
            chosen = best_epoch(curve)
            if chosen is curve[-1]:
                best = copy.deepcopy(module)
            if epoch - chosen.epoch >= recipe.patience:
                break
    choices: dict[str, float] = {"epoch": best_epoch(curve).epoch, "num_epochs": len(curve)}
    return _head(best, standardisation, train.classes), choices, curve


def best_epoch(curve: list[MlpEpoch]) -> MlpEpoch:
    """Find the epoch of lowest validation log loss, the first of equals."""
    return min(curve, key=lambda record: record.val_loss)


@contextmanager
def _alone(seed: int, size: int) -> Iterator[None]:
    """Seed torch, on one thread while the features are few; leave both as they were."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1 if size < MANY else num_threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(num_threads)


def _build(num_features: int, num_classes: int, recipe: MlpRecipe) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_features, recipe.hidden_size),
        nn.Sequential(nn.ReLU(), nn.Dropout(recipe.dropout)),
        nn.Linear(recipe.hidden_size, num_classes),
    )


def _train_epoch(
    module: nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, weights: Tensor, batch_size: int
) -> float:
    """Take one pass in a new order; give the mean loss."""
    module.train()
    total = 0.0
    for rows in torch.split(torch.randperm(len(x)), batch_size):
        loss = functional.cross_entropy(module(x[rows]), y[rows], weight=weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(rows)
    if not math.isfinite(total):
        raise DataError("the loss is no number any more; lower train_head.mlp.learning_rate")
    return total / len(x)


def _logits(module: nn.Sequential, x: Tensor) -> Float32:
    module.eval()
    with torch.inference_mode():
        return np.asarray(module(x).numpy())


def _record(epoch: int, train_loss: float, logits: Float32, val: FeatureSet, weights: ClassWeights) -> MlpEpoch:
    return MlpEpoch(
        epoch=epoch,
        train_loss=train_loss,
        val_loss=log_loss(logits, val.y, weights),
        val_accuracy=accuracy(logits.argmax(axis=1), val.y),
    )


def _head(module: nn.Sequential, standardisation: Standardisation, classes: tuple[str, ...]) -> Head:
    first, last = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in module if isinstance(layer, nn.Linear)
    ]
    return Head(kind="mlp", classes=classes, layers=(standardisation.fold(*first), last))
