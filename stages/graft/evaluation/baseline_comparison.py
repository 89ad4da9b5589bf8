"""The model compared with the baselines: all are scored in the same way on the same test images."""

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.splits import BASELINES
from stages.graft.evaluation.results import NUM_DIGITS, Evaluation
from stages.graft.metrics import classification
from stages.graft.model.scoring import class_indices


def comparison_table(evaluation: Evaluation) -> pd.DataFrame:
    """Score the model and every baseline on the same test images.

    Returns:
        Columns name, accuracy, accuracy_low, accuracy_high, balanced_accuracy, macro_f1, num_test; the model first.
    Raises:
        DataError: a baseline lacks a test image.
    """
    rows = [_row("model", evaluation.answers.predicted, evaluation)]
    for name in BASELINES:
        labels = evaluation.images[name].to_list()
        if missing := labels.count(""):
            raise DataError(f"baseline {name} lacks {missing} test images; run `dvc repro`")
        rows.append(_row(name, class_indices(labels, evaluation.classes), evaluation))
    return pd.DataFrame(rows).round(NUM_DIGITS)


def baselines_record(table: pd.DataFrame) -> dict[str, float]:
    """Give each baseline's accuracy for the metrics: `majority_accuracy`, …"""
    rows = table[table["name"] != "model"]
    return {f"{name}_accuracy": float(value) for name, value in zip(rows["name"], rows["accuracy"], strict=True)}


def _row(name: str, predicted: classification.Labels, evaluation: Evaluation) -> dict[str, str | float]:
    y, classes = evaluation.y, evaluation.classes
    num_correct = int((predicted == y).sum())
    low, high = classification.wilson_interval(num_correct, len(y), evaluation.confidence_level)
    scores = classification.class_scores(classification.confusion_matrix(predicted, y, len(classes)), classes)
    present = [score for score in scores if score.num_images]
    return {
        "name": name,
        "accuracy": num_correct / len(y),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": sum(score.recall for score in present) / len(present),
        "macro_f1": sum(score.f1 for score in present) / len(present),
        "num_test": len(y),
    }
