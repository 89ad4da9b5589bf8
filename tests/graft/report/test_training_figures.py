import numpy as np
import pandas as pd
import pytest

from stages.graft.report.figure_style import style
from stages.graft.report.training_figures import draw_curve, draw_shots, tick_labels


@pytest.fixture(autouse=True)
def _style():
    with style():
        yield


def points(axis):
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axis.lines}


def test_training_stands_beside_validation_and_the_best_epoch_is_marked():
    rows = [
        (0, "val", 0.9, 0.5),
        (1, "train", 0.7, None),
        (1, "val", 0.4, 0.8),
        (2, "train", 0.2, None),
        (2, "val", 0.6, 0.7),
    ]
    table = pd.DataFrame(rows, columns=["epoch", "split", "loss", "accuracy"])
    loss, accuracy = draw_curve(table, "Title").axes
    found = points(loss)
    assert found["training"] == [(1, 0.7), (2, 0.2)]
    assert found["validation"] == [(0, 0.9), (1, 0.4), (2, 0.6)]
    assert [(1, 0), (1, 1)] in found.values()
    assert points(accuracy)["validation"] == [(0, 0.5), (1, 0.8), (2, 0.7)]


def test_the_band_spans_the_draws():
    table = pd.DataFrame(
        {"train_per_class": [1, 10], "accuracy": [0.5, 0.9], "accuracy_low": [0.4, 0.9], "accuracy_high": [0.6, 0.9],
         "num_draws": [5, 1]}
    )  # fmt: skip
    [axis] = draw_shots(table).axes
    [band] = axis.collections
    corners = band.get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (0.4, 0.9)
    assert [text.get_text() for text in axis.texts] == ["90%"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "10\n(all)"]


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        ([1, 2, 5, 500, 666], ["1", "2", "5", "", "666\n(all)"]),
        ([1, 2, 4, 8], ["1", "2", "4", "8\n(all)"]),
        ([10, 11, 12, 100], ["", "", "12", "100\n(all)"]),
        ([1], ["1\n(all)"]),
    ],
)
def test_labels_never_touch(places, labels):
    assert tick_labels(np.array(places, dtype=float)) == labels


def test_one_image_a_class_is_a_curve_of_one_point():
    row = {"train_per_class": [1], "accuracy": [1.0], "accuracy_low": [1.0], "accuracy_high": [1.0], "num_draws": [1]}
    draw_shots(pd.DataFrame(row)).draw_without_rendering()
