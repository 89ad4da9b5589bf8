"""Results of every training epoch, and the learning curve written as a table for DVC's plots and MLflow's steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.metrics.classification import Float, Labels, accuracy, log_loss
from stages.graft.storage.tables import write_csv

COLUMNS = ["epoch", "split", "loss", "accuracy"]


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Results of one training epoch."""

    epoch: int
    """Number of the epoch, counted from 1; 0 is the state before the first step."""
    train_loss: float
    """Mean training loss over the epoch, in nats; NaN for epoch 0."""
    val_loss: float
    """Mean cross-entropy on validation after the epoch, in nats."""
    val_accuracy: float
    """Top-1 accuracy on validation after the epoch, in [0, 1]."""

    def metrics(self) -> dict[str, float]:
        """Give the losses and the accuracy by name; epoch 0 has no train_loss."""
        names = ("train_loss", "val_loss", "val_accuracy")
        return {name: getattr(self, name) for name in names if not math.isnan(getattr(self, name))}


def measure_epoch(
    number: int, train_loss: float, val_logits: Float, val_y: Labels, weights: npt.NDArray[np.float64] | None = None
) -> Epoch:
    """Measure an epoch on validation; a validation loss that is not finite is for the caller to check.

    Args:
        number, train_loss: as in `Epoch`.
        val_logits, val_y, weights: as in `log_loss`.
    """
    with np.errstate(all="ignore"):
        val_loss = log_loss(val_logits, val_y, weights)
    val_accuracy = accuracy(val_logits.argmax(axis=1), val_y)
    return Epoch(epoch=number, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """Find the epoch with the lowest validation log loss; of equal ones, the first."""
    return min(epochs, key=lambda epoch: epoch.val_loss)


def write_curve(epochs: Sequence[Epoch], path: Path) -> None:
    """Write the learning curve, one row per epoch and split; without epochs, only the header."""
    rows: list[tuple[int, str, float | None, float | None]] = []
    for epoch in epochs:
        if not math.isnan(epoch.train_loss):
            rows.append((epoch.epoch, "train", round(epoch.train_loss, 6), None))
        rows.append((epoch.epoch, "val", round(epoch.val_loss, 6), round(epoch.val_accuracy, 6)))
    write_csv(pd.DataFrame(rows, columns=COLUMNS), path)
