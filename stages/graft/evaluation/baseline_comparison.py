"""The model compared with the baselines: all are scored in the same way on the same test images."""

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.splits import BASELINES
from stages.graft.evaluation.results import NUM_DIGITS, Evaluation, accuracy_record
from stages.graft.model.scoring import class_indices


def comparison_table(evaluation: Evaluation) -> pd.DataFrame:
    """Score the model and every baseline on the same test images.

    Returns:
        Columns name, accuracy, accuracy_low, accuracy_high, balanced_accuracy, macro_f1, num_test; the model first.
    Raises:
        DataError: a baseline lacks a test image.
    """
    predictions = {"model": evaluation.answers.predicted}
    for name in BASELINES:
        labels = evaluation.images[name].to_list()
        if missing := labels.count(""):
            raise DataError(f"baseline {name} lacks {missing} test images; run `dvc repro`")
        predictions[name] = class_indices(labels, evaluation.classes)
    rows = [{"name": name, **accuracy_record(evaluation, predicted)} for name, predicted in predictions.items()]
    return pd.DataFrame(rows).round(NUM_DIGITS).assign(num_test=len(evaluation.y))


def baselines_record(table: pd.DataFrame) -> dict[str, float]:
    """Give each baseline's accuracy for the metrics: `majority_accuracy`, …"""
    rows = table[table["name"] != "model"]
    return {f"{name}_accuracy": float(value) for name, value in zip(rows["name"], rows["accuracy"], strict=True)}
