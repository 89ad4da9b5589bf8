import numpy as np
import pandas as pd
import pytest

from stages.graft.errors import DataError
from stages.graft.evaluation import (
    Evaluation,
    confusion_table,
    metrics_record,
    per_class_table,
    predictions_table,
    summary,
)

CLASSES = ("hole", "inclusion", "scratch")


def evaluation(labels, probabilities, classes=CLASSES):
    ids = [f"{k:064x}" for k in range(len(labels))]
    images = pd.DataFrame(
        {"id": ids, "file": [f"{label}/{k}, b.png" for k, label in enumerate(labels)], "label": labels}
    )
    return Evaluation(images=images, classes=classes, logits=np.log(np.asarray(probabilities, dtype=np.float32)))


@pytest.fixture
def six():
    """Six images, four of them right: a hole taken for an inclusion and a scratch for an inclusion."""
    sure, missed = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    labels = ["hole", "hole", "hole", "inclusion", "inclusion", "scratch"]
    return evaluation(labels, [sure, sure, missed, missed, missed, missed])


def test_metrics_by_hand(six):
    assert metrics_record(six, 0.95) == {
        "accuracy": 0.666667,
        "accuracy_low": 0.299993,  # Wilson: 0.601611 ± 0.301618
        "accuracy_high": 0.903229,
        "balanced_accuracy": round((2 / 3 + 1 + 0) / 3, 6),
        "macro_f1": round((4 / 5 + 2 / 3 + 0) / 3, 6),
        "log_loss": round((4 * -np.log(0.8) + 2 * -np.log(0.1)) / 6, 6),
        "ece": round(0.8 - 4 / 6, 6),  # one bin: every confidence is 0.8
        "num_test": 6,
    }


def test_tables(six):
    predictions = predictions_table(six)
    assert predictions.columns.to_list() == ["id", "file", "label", "predicted", "confidence"]
    assert predictions["predicted"].to_list() == ["hole", "hole", *["inclusion"] * 4]
    assert predictions["confidence"].to_list() == pytest.approx([0.8] * 6)
    assert predictions.loc[2, "file"] == "hole/2, b.png"
    confusion = confusion_table(six)
    assert confusion["actual"].to_list() == six.images["label"].to_list()
    assert confusion["predicted"].to_list() == predictions["predicted"].to_list()
    assert per_class_table(six).to_dict("list") == {
        "class": list(CLASSES),
        "precision": [1.0, 0.5, 0.0],
        "recall": [0.666667, 1.0, 0.0],
        "f1": [0.8, 0.666667, 0.0],
        "num_test": [3, 2, 1],
    }


def test_the_summary_fits_a_screen_and_says_what_is_wrong(six):
    lines = summary(six, metrics_record(six, 0.95), 0.95).splitlines()
    assert lines[0] == "6 test images, accuracy 66.7% (95% interval 30.0% to 90.3%)"
    assert lines[3].split() == ["scratch", "0.0%", "0.0%", "0.0%", "1"]  # the weakest first
    assert lines[-2:] == ["       1 hole taken for inclusion", "       1 scratch taken for inclusion"]
    assert max(map(len, lines)) <= 100


def test_the_summary_of_many_classes_with_long_names_is_short():
    classes = tuple(f"{'very ' * 20}long {k:02}" for k in range(30))
    probabilities = np.full((30, 30), 0.01) + np.roll(np.eye(30), 1, axis=1) * 0.7
    every = evaluation(list(classes), probabilities, classes)
    text = summary(every, metrics_record(every, 0.95), 0.95)
    assert "weakest 5 of 30 classes" in text
    assert len(text.splitlines()) == 14
    assert max(map(len, text.splitlines())) <= 100


def test_a_perfect_classifier():
    right = evaluation(list(CLASSES), np.eye(3) * 0.98 + 0.01)
    assert "no image was taken for another class" in summary(right, metrics_record(right, 0.95), 0.95)


def test_a_class_without_a_test_image_does_not_count():
    record = metrics_record(evaluation(["hole", "scratch"], [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]), 0.95)
    assert record["balanced_accuracy"] == record["macro_f1"] == 1


def test_a_class_the_model_does_not_know_is_named():
    with pytest.raises(DataError, match="the model knows no class 'dent', only hole, inclusion, scratch"):
        metrics_record(evaluation(["dent"], [[0.8, 0.1, 0.1]]), 0.95)
