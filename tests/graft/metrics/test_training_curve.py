"""Learning curves: a row for each epoch and split, and the best epoch."""

import math
from pathlib import Path

import numpy as np
import pytest

from stages.graft.metrics.training_curve import Epoch, best_epoch, measure_epoch, write_curve


def epoch(number: int, train_loss: float, val_loss: float, val_accuracy: float) -> Epoch:
    return Epoch(epoch=number, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)


def test_each_epoch_has_a_row_for_train_and_one_for_val(tmp_path: Path):
    write_curve([epoch(0, math.nan, 1.5, 0.25), epoch(1, 0.75, 1 / 3, 1.0)], tmp_path / "plots" / "curve.csv")
    assert (tmp_path / "plots" / "curve.csv").read_text().splitlines() == [
        "epoch,split,loss,accuracy",
        "0,val,1.5,0.25",
        "1,train,0.75,",
        "1,val,0.333333,1.0",
    ]


def test_without_epochs_only_the_header_is_written(tmp_path: Path):
    write_curve([], tmp_path / "curve.csv")
    assert (tmp_path / "curve.csv").read_text() == "epoch,split,loss,accuracy\n"


def test_the_best_epoch_is_the_first_of_the_lowest_losses():
    epochs = [epoch(number, 1.0, loss, 0.5) for number, loss in enumerate([2.0, 0.5, 1.0, 0.5])]
    assert best_epoch(epochs) is epochs[1]


def test_metrics_are_the_measured_values_alone():
    assert epoch(0, math.nan, 1.5, 0.25).metrics() == {"val_loss": 1.5, "val_accuracy": 0.25}
    assert epoch(1, 0.75, 1.5, 0.25).metrics() == {"train_loss": 0.75, "val_loss": 1.5, "val_accuracy": 0.25}


def test_an_epoch_is_measured_by_hand():
    logits, y = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]), np.array([0, 2])
    found = measure_epoch(2, 0.75, logits, y)
    assert (found.epoch, found.train_loss, found.val_accuracy) == (2, 0.75, 0.5)
    assert found.val_loss == pytest.approx((np.log(2) + np.log(10)) / 2)
    weighted = measure_epoch(2, 0.75, logits, y, np.array([3.0, 1.0, 1.0]))
    assert weighted.val_loss == pytest.approx((3 * np.log(2) + np.log(10)) / 4)


def test_a_loss_that_is_not_finite_is_given_without_a_warning():
    assert math.isnan(measure_epoch(1, 0.5, np.array([[np.inf, 0.0]]), np.array([0])).val_loss)
