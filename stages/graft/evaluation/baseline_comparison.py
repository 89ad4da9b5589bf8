"""The model compared with the baselines: all are scored in the same way on the same test images."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.splits import BASELINES
from stages.graft.evaluation.results import NUM_DIGITS, Evaluation, accuracy_record
from stages.graft.metrics.baseline_names import BASELINE_NAMES
from stages.graft.metrics.paired_comparison import MAX_P_VALUE, mcnemar, unit_changes
from stages.graft.model.scoring import class_indices

SIMPLE = tuple(name for name in BASELINES if name != "neighbours")
"""Baselines without a network: the model must be better than these, beyond chance. The nearest neighbours use the same
features, so a good network makes both good; the model must only not be worse than they are."""


@dataclass(frozen=True, kw_only=True)
class BaselineVerdict:
    """The model against a baseline, on the same test images."""

    name: str
    """One of BASELINES."""
    accuracy: float
    """Its accuracy, [0, 1]."""
    model_accuracy: float
    """The model's accuracy, [0, 1]."""
    num_gained: int
    """Images that only the model classifies correctly."""
    num_lost: int
    """Images that only the baseline classifies correctly."""
    groups_gained: int
    """Groups of near-duplicates, or images without any, of which the model has more right than the baseline."""
    groups_lost: int
    """Those of which it has fewer right."""

    @property
    def p_value(self) -> float:
        """Exact two-sided McNemar test, in which a group of near-duplicates counts once."""
        return mcnemar(self.groups_gained, self.groups_lost)

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better beyond chance."""
        return self.groups_gained > self.groups_lost and self.p_value <= MAX_P_VALUE

    @property
    def is_better(self) -> bool:
        """Whether the baseline is better than the model beyond chance."""
        return self.groups_lost > self.groups_gained and self.p_value <= MAX_P_VALUE


@dataclass(frozen=True, kw_only=True)
class BaselineVerdicts:
    """The model against the baselines that decide."""

    simple: BaselineVerdict
    """The one of SIMPLE with the highest accuracy; of equal ones, the first."""
    neighbours: BaselineVerdict
    """The nearest training images by the same features."""

    @property
    def are_beaten(self) -> bool:
        """Whether the model is better than anything simple beyond chance, and no worse than its nearest neighbours."""
        return self.simple.is_beaten and not self.neighbours.is_better

    @property
    def hardest(self) -> BaselineVerdict:
        """The baseline to name: the nearest neighbours where they are better than the model, else the simple one."""
        return self.neighbours if self.neighbours.is_better else self.simple


def compare_with_baselines(evaluation: Evaluation) -> BaselineVerdicts:
    """Compare the model with the baselines, image by image."""
    verdicts = {name: _compare(evaluation, name) for name in BASELINES}
    best = max(SIMPLE, key=lambda name: verdicts[name].accuracy)
    return BaselineVerdicts(simple=verdicts[best], neighbours=verdicts["neighbours"])


def _compare(evaluation: Evaluation, name: str) -> BaselineVerdict:
    correct = class_indices(evaluation.images[name].to_list(), evaluation.classes) == evaluation.y
    groups_gained, groups_lost = unit_changes(correct, evaluation.correct, evaluation.groups)
    return BaselineVerdict(
        name=name,
        accuracy=float(correct.mean()),
        model_accuracy=float(evaluation.correct.mean()),
        num_gained=int((evaluation.correct & ~correct).sum()),
        num_lost=int((correct & ~evaluation.correct).sum()),
        groups_gained=groups_gained,
        groups_lost=groups_lost,
    )


def verdict_record(verdicts: BaselineVerdicts) -> dict[str, Any]:
    """Flatten the verdicts for the report: the baseline to name, and whether the baselines are beaten."""
    verdict = verdicts.hardest
    return {
        "baseline": verdict.name,
        "baseline_accuracy": round(verdict.accuracy, NUM_DIGITS),
        "baseline_num_gained": verdict.num_gained,
        "baseline_num_lost": verdict.num_lost,
        "baseline_p_value": round(verdict.p_value, NUM_DIGITS),
        "beats_baseline": verdicts.are_beaten,
    }


def format_figures(verdict: BaselineVerdict) -> str:
    """Name a baseline, both accuracies, the images that only one has right, and the test."""
    return (
        f"{BASELINE_NAMES[verdict.name]}: {verdict.model_accuracy:.1%} against {verdict.accuracy:.1%}, "
        f"{verdict.num_gained} images gained and {verdict.num_lost} lost (McNemar p = {verdict.p_value:.2g})"
    )


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
