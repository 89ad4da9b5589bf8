import dataclasses

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.evaluation.baseline_comparison import baselines_record, comparison_table
from tests.graft.evaluation.test_results import evaluation

LABELS = ["hole", "hole", "inclusion", "scratch"]


def model(majority, pixels):
    """Four images, all right, with what two baselines predict; the third is as good as the model."""
    scored = evaluation(LABELS, np.eye(3)[[0, 0, 1, 2]] * 0.7 + 0.1)
    images = scored.images.assign(majority=majority, pixels=pixels, neighbours=LABELS)
    return dataclasses.replace(scored, images=images)


def test_by_hand():
    table = comparison_table(model(["hole"] * 4, ["hole", "scratch", *LABELS[2:]]))
    assert table["name"].to_list() == ["model", "majority", "pixels", "neighbours"]
    assert table["accuracy"].to_list() == [1, 0.5, 0.75, 1]
    assert table["balanced_accuracy"].to_list() == [1, 0.333333, 0.833333, 1]
    assert table["macro_f1"].to_list() == [1, round(2 / 3 / 3, 6), round((2 / 3 + 1 + 2 / 3) / 3, 6), 1]
    assert table.loc[1, ["accuracy_low", "accuracy_high"]].sum() == pytest.approx(1)  # half right: symmetric
    record = {"majority_accuracy": 0.5, "pixels_accuracy": 0.75, "neighbours_accuracy": 1}
    assert baselines_record(table) == record


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match="baseline pixels lacks 3 test images"):
        comparison_table(model(LABELS, ["hole", "", "", ""]))
