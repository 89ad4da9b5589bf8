import numpy as np
import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.evaluation.baseline_comparison import baselines_record, comparison_table
from tests.graft.evaluation.test_results import evaluation

LABELS = ["hole", "hole", "inclusion", "scratch"]


@pytest.fixture
def model():
    """Four images, all right."""
    return evaluation(LABELS, np.eye(3)[[0, 0, 1, 2]] * 0.7 + 0.1)


def predictions(model, **baselines):
    rows = [
        (id_, name, label, 0.5)
        for name, labels in baselines.items()
        for id_, label in zip(model.images["id"], labels, strict=False)
    ]
    return pd.DataFrame(rows, columns=["id", "baseline", "predicted", "confidence"])


def test_by_hand(model):
    table = comparison_table(model, predictions(model, majority=["hole"] * 4, pixels=["hole", "scratch", *LABELS[2:]]))
    assert table["name"].to_list() == ["model", "majority", "pixels"]
    assert table["accuracy"].to_list() == [1, 0.5, 0.75]
    assert table["balanced_accuracy"].to_list() == [1, 0.333333, 0.833333]
    assert table["macro_f1"].to_list() == [1, round(2 / 3 / 3, 6), round((2 / 3 + 1 + 2 / 3) / 3, 6)]
    assert table.loc[1, ["accuracy_low", "accuracy_high"]].sum() == pytest.approx(1)  # half right: symmetric
    assert baselines_record(table) == {"majority_accuracy": 0.5, "pixels_accuracy": 0.75}


def test_what_is_missing_is_named(model):
    with pytest.raises(DataError, match="baseline pixels lacks 3 test images"):
        comparison_table(model, predictions(model, majority=LABELS, pixels=["hole"]))
