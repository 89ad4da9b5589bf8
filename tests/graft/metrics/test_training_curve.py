"""Learning curves: a row for each epoch and split, written for plots."""

import math
from dataclasses import dataclass
from pathlib import Path

from stages.graft.metrics.training_curve import write_curve


@dataclass(frozen=True)
class Record:
    """What any training records of an epoch."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float


def test_each_epoch_has_a_row_for_train_and_one_for_val(tmp_path: Path):
    write_curve([Record(0, math.nan, 1.5, 0.25), Record(1, 0.75, 1 / 3, 1.0)], tmp_path / "plots" / "curve.csv")
    assert (tmp_path / "plots" / "curve.csv").read_text().splitlines() == [
        "epoch,split,loss,accuracy",
        "0,val,1.5,0.25",
        "1,train,0.75,",
        "1,val,0.333333,1.0",
    ]


def test_without_epochs_the_header_stands_alone(tmp_path: Path):
    write_curve([], tmp_path / "curve.csv")
    assert (tmp_path / "curve.csv").read_text() == "epoch,split,loss,accuracy\n"
