"""The model compared with the baselines: all are scored in the same way on the same test images."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.splits import BASELINES
from stages.graft.evaluation.results import NUM_DIGITS, Evaluation, accuracy_record
from stages.graft.metrics.paired_comparison import mcnemar
from stages.graft.model.scoring import class_indices

MEANINGS = {
    "majority": "always the commonest class",
    "pixels": "grey pixels without a network",
    "neighbours": "the nearest training images by the same features",
}
"""What each baseline does, for sentences."""

MAX_P_VALUE = 0.05
"""A difference with a larger p-value could be chance."""


@dataclass(frozen=True, kw_only=True)
class BaselineVerdict:
    """The model against the best baseline, on the same test images."""

    name: str
    """The baseline with the highest accuracy; of equal ones, the first of BASELINES."""
    accuracy: float
    """Its accuracy, [0, 1]."""
    model_accuracy: float
    """The model's accuracy, [0, 1]."""
    num_gained: int
    """Images that only the model classifies correctly."""
    num_lost: int
    """Images that only the baseline classifies correctly."""
    p_value: float
    """Exact two-sided McNemar test."""

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better beyond chance."""
        return self.num_gained > self.num_lost and self.p_value <= MAX_P_VALUE


def compare_with_best(evaluation: Evaluation) -> BaselineVerdict:
    """Compare the model with the best baseline, image by image."""
    correct = {
        name: class_indices(evaluation.images[name].to_list(), evaluation.classes) == evaluation.y for name in BASELINES
    }
    best = max(BASELINES, key=lambda name: correct[name].sum())
    num_gained = int((evaluation.correct & ~correct[best]).sum())
    num_lost = int((correct[best] & ~evaluation.correct).sum())
    return BaselineVerdict(
        name=best,
        accuracy=float(correct[best].mean()),
        model_accuracy=float(evaluation.correct.mean()),
        num_gained=num_gained,
        num_lost=num_lost,
        p_value=mcnemar(num_gained, num_lost),
    )


def verdict_record(verdict: BaselineVerdict) -> dict[str, Any]:
    """Flatten a verdict for the report."""
    return {
        "baseline": verdict.name,
        "baseline_accuracy": round(verdict.accuracy, NUM_DIGITS),
        "baseline_num_gained": verdict.num_gained,
        "baseline_num_lost": verdict.num_lost,
        "baseline_p_value": round(verdict.p_value, NUM_DIGITS),
        "beats_baseline": verdict.is_beaten,
    }


def format_verdict(verdict: BaselineVerdict) -> str:
    """Say in one line whether the model is better than the best baseline beyond chance, and if not, what to try."""
    found = (
        f"the best baseline, {MEANINGS[verdict.name]}: {verdict.model_accuracy:.1%} against {verdict.accuracy:.1%}, "
        f"{verdict.num_gained} images gained and {verdict.num_lost} lost (McNemar p = {verdict.p_value:.2g})"
    )
    if verdict.is_beaten:
        return f"better than {found}"
    return f"NOT proven better than {found}; `graft compare-backbones` tries other networks"


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
