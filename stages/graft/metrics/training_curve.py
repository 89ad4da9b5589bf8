"""Learning curves as a table: one row per epoch and split, for DVC's plots and MLflow's steps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from stages.graft.storage.tables import write_csv

COLUMNS = ["epoch", "split", "loss", "accuracy"]


class Epoch(Protocol):
    """What every training records of an epoch."""

    @property
    def epoch(self) -> int:
        """Counted from 1; 0 before any step."""

    @property
    def train_loss(self) -> float:
        """In nats; NaN when nothing was trained."""

    @property
    def val_loss(self) -> float:
        """In nats."""

    @property
    def val_accuracy(self) -> float:
        """Top-1, [0, 1]."""


def write_curve(epochs: Sequence[Epoch], path: Path) -> None:
    """Write the curve; with no epoch, its header alone."""
    rows: list[tuple[int, str, float | None, float | None]] = []
    for one in epochs:
        if not math.isnan(one.train_loss):
            rows.append((one.epoch, "train", round(one.train_loss, 6), None))
        rows.append((one.epoch, "val", round(one.val_loss, 6), round(one.val_accuracy, 6)))
    write_csv(pd.DataFrame(rows, columns=COLUMNS), path)
