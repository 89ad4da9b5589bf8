import numpy as np
import pandas as pd
import pytest

from stages.graft.evaluation.results import (
    Evaluation,
    confusion_table,
    metrics_record,
    per_class_table,
    predictions_table,
    reliability,
    risk_coverage,
    unknown_record,
)
from stages.graft.evaluation.unseen_classes import UnseenClass
from stages.graft.metrics.classification import softmax, wilson_interval
from stages.graft.model.decision import Answers

CLASSES = ("hole", "inclusion", "scratch")
UNSEEN = [UnseenClass(label="hole", auroc=0.5, found=0.2), UnseenClass(label="inclusion", auroc=1.0, found=None)]


def answers(logits, temperature=1, unsure_below=0.0, distance=None):
    """What a rule would say; without distances, every image is a usual one."""
    distance = np.full(len(logits), 0.9) if distance is None else np.asarray(distance)
    calibrated = (logits / temperature).astype(np.float32)
    return Answers(
        predicted=logits.argmax(axis=1),
        calibrated=calibrated,
        unsure=softmax(calibrated).max(axis=1) < unsure_below,
        distance=distance,
        unknown=distance > 1.5,
    )


def evaluation(labels, probabilities, classes=CLASSES, groups=None, leaked=None, is_checked=True, **rule):
    """Scored images with these probabilities before calibration, by default independent ones."""
    ids = [f"{k:064x}" for k in range(len(labels))]
    images = pd.DataFrame(
        {"id": ids, "file": [f"{label}/{k}, b.png" for k, label in enumerate(labels)], "label": labels}
    )
    logits = np.log(np.asarray(probabilities, dtype=np.float32))
    return Evaluation(
        images=images,
        groups=np.arange(len(labels)) if groups is None else np.asarray(groups),
        leaked=np.zeros(len(labels), bool) if leaked is None else np.asarray(leaked),
        is_checked=is_checked,
        classes=classes,
        num_train=np.arange(len(classes)),
        logits=logits,
        answers=answers(logits, **rule),
        num_labels=4,
        confidence_level=0.95,
    )


@pytest.fixture
def six():
    """Six images, four of them right: a hole taken for an inclusion and a scratch for an inclusion."""
    sure, missed = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    labels = ["hole", "hole", "hole", "inclusion", "inclusion", "scratch"]
    return evaluation(labels, [sure, sure, missed, missed, missed, missed])


def test_metrics_by_hand(six):
    assert metrics_record(six) == {
        "accuracy": 0.666667,
        "accuracy_low": 0.299993,  # Wilson: 0.601611 ± 0.301618
        "accuracy_high": 0.903229,
        "balanced_accuracy": round((2 / 3 + 1 + 0) / 3, 6),
        "macro_f1": round((4 / 5 + 2 / 3 + 0) / 3, 6),
        "log_loss": round((4 * -np.log(0.8) + 2 * -np.log(0.1)) / 6, 6),
        "log_loss_uncalibrated": round((4 * -np.log(0.8) + 2 * -np.log(0.1)) / 6, 6),
        "ece": round(0.8 - 4 / 6, 6),  # one bin: every confidence is 0.8
        "ece_uncalibrated": round(0.8 - 4 / 6, 6),
        "coverage": 1.0,
        "selective_accuracy": 0.666667,
        "num_test": 6,
        "num_test_groups": 6,
        "num_leaked": 0,
    }


def test_tables(six):
    predictions = predictions_table(six)
    columns = ["id", "file", "label", "predicted", "confidence", "unsure", "distance", "unknown", "group"]
    assert predictions.columns.to_list() == columns
    assert predictions["predicted"].to_list() == ["hole", "hole", *["inclusion"] * 4]
    assert predictions["confidence"].to_list() == pytest.approx([0.8] * 6)
    assert predictions.loc[2, "file"] == "hole/2, b.png"
    confusion = confusion_table(six)
    assert confusion["actual"].to_list() == six.images["label"].to_list()
    assert confusion["predicted"].to_list() == predictions["predicted"].to_list()
    table = per_class_table(six, UNSEEN)
    assert table["class"].to_list() == list(CLASSES)
    assert table["precision"].to_list() == [1.0, 0.5, 0.0]
    assert table["recall"].to_list() == [0.666667, 1.0, 0.0]
    assert table["f1"].to_list() == [0.8, 0.666667, 0.0]
    assert table["num_test"].to_list() == [3, 2, 1]
    assert table.loc[1, ["precision_low", "precision_high"]].to_list() == pytest.approx([0.150039, 0.849961])  # 2 of 4
    assert table.loc[2, ["recall_low", "recall_high"]].to_list() == pytest.approx([0, 0.793451])  # 0 of 1
    assert table["unseen_auroc"].to_list() == [0.5, pytest.approx(1.0), pytest.approx(np.nan, nan_ok=True)]
    assert table.loc[2, ["precision_low", "precision_high"]].isna().all()  # nothing was called a scratch


def test_calibration_and_doubt_change_the_figures_they_should():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]])
    labels, distance = ["hole", "hole", "scratch", "inclusion"], [1, 2, 1, 1]
    doubtful = evaluation(labels, probabilities, temperature=0.5, unsure_below=0.9, distance=distance)
    record, plain = metrics_record(doubtful), metrics_record(evaluation(labels, probabilities))
    squared = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)  # temperature 1/2
    assert record["log_loss"] == pytest.approx(-np.log(squared[[0, 1, 2, 3], [0, 0, 2, 1]]).mean(), abs=1e-6)
    assert record["log_loss_uncalibrated"] == plain["log_loss"]
    assert record["accuracy"] == plain["accuracy"] == 0.75
    assert (record["coverage"], record["selective_accuracy"]) == (0.25, 1.0)
    predictions = predictions_table(doubtful)
    assert predictions["confidence"].to_list() == pytest.approx(squared.max(axis=1), abs=1e-6)
    assert predictions["unsure"].to_list() == [False, True, True, True]
    assert predictions["unknown"].to_list() == [False, True, False, False]


def test_no_answer_at_all_has_no_accuracy(six):
    record = metrics_record(evaluation(["hole"], [[0.8, 0.1, 0.1]], unsure_below=1.0))
    assert (record["coverage"], record["selective_accuracy"]) == (0, None)


def test_how_often_images_are_called_unknown():
    right = [[0.8, 0.1, 0.1]] * 4
    record = unknown_record(evaluation(["hole"] * 4, right, distance=[1, 2, 1, 1]), UNSEEN, 19)
    low, high = (round(end, 6) for end in wilson_interval(1, 4))
    alarms = {"false_alarms": 0.25, "false_alarms_low": low, "false_alarms_high": high}
    assert record == alarms | {"unseen_auroc": 0.75, "unseen_found": 0.2, "num_known_groups": 19}
    alone = unknown_record(evaluation(["hole"] * 4, right), [], 3)
    assert (alone["unseen_auroc"], alone["unseen_found"], alone["false_alarms"]) == (None, None, 0)


def test_plot_tables(six):
    table = reliability(six)
    assert table["calibration"].to_list() == ["before", "after"]
    assert table["accuracy"].to_list() == [0.666667, 0.666667]
    assert table["num_images"].to_list() == [6, 6]
    curve = risk_coverage(six)
    assert curve.iloc[-1][["coverage", "risk"]].to_list() == pytest.approx([1, 0.333333])


def test_a_class_without_a_test_image_does_not_count():
    record = metrics_record(evaluation(["hole", "scratch"], [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]))
    assert record["balanced_accuracy"] == record["macro_f1"] == 1


def test_twins_are_one_piece_of_evidence():
    """Four images in two groups of two are worth two: 4² / (2² + 2²)."""
    right = [[0.8, 0.1, 0.1]] * 4
    record = metrics_record(evaluation(["hole"] * 4, right, groups=[0, 0, 1, 1]))
    assert record["accuracy_low"] == round(wilson_interval(2, 2)[0], 6)
    assert (record["num_test"], record["num_test_groups"]) == (4, 2)
    table = per_class_table(evaluation(["hole"] * 4, right, groups=[0, 0, 1, 1]), [])
    assert table["unseen_found"].isna().all()
    assert table.loc[0, "recall_low"] == record["accuracy_low"]


def test_accuracy_without_the_images_that_leak():
    sure, missed = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    scored = evaluation(["hole"] * 3, [sure, sure, missed], leaked=[True, False, False])
    record = metrics_record(scored)
    assert (record["num_leaked"], record["accuracy"], record["accuracy_unleaked"]) == (1, 0.666667, 0.5)
    assert record["accuracy_unleaked_low"] == round(wilson_interval(1, 2)[0], 6)
    every = metrics_record(evaluation(["hole"], [sure], leaked=[True]))
    assert every["accuracy_unleaked"] is None


def test_what_was_not_looked_for_is_not_counted():
    assert metrics_record(evaluation(["hole"], [[0.8, 0.1, 0.1]], is_checked=False))["num_leaked"] is None
