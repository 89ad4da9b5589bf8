"""The result in sentences: how good the model is, how sure, its limits, and whether fine-tuning helped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

SPLIT_NAMES = {"val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class SplitComparison:
    """The paired comparison of fine-tuned and head-only on one split, as a report holds it."""

    split: str
    """validation or test."""
    values: Record
    """accuracy_before, accuracy_after, difference, …: the report's keys without the split."""

    @property
    def is_significant(self) -> bool:
        """Whether the interval of the difference in accuracy excludes zero."""
        return not self.values["difference_low"] <= 0 <= self.values["difference_high"]


def format_headline(metrics: Record, confidence_level: float) -> str:
    """Describe in a sentence how good the classifier is, with the interval.

    Args:
        metrics: as evaluate wrote them.
        confidence_level: of the interval.
    """
    right = round(metrics["accuracy"] * metrics["num_test"])
    return (
        f"{right:,} of {metrics['num_test']:,} test images are put in the right class: {metrics['accuracy']:.1%}. On "
        f"images like these, expect between {metrics['accuracy_low']:.1%} and {metrics['accuracy_high']:.1%} "
        f"({confidence_level:.0%} interval)."
    )


def format_details(metrics: Record) -> list[str]:
    """Describe in a few sentences what else to know before using the classifier."""
    return [
        _format_independence(metrics),
        _format_baselines(metrics),
        _format_coverage(metrics),
        f"Of the test images, {metrics['false_alarms']:.1%} are called unknown though they are not; of images that "
        f"show none of the classes, {metrics['strangers_found']:.1%} are.",
        f"A confidence is off by {metrics['ece']:.1%} on average (expected calibration error).",
    ]


def read_comparisons(finetune: Record, verdict: Record) -> list[SplitComparison]:
    """Read the comparisons on validation and on test from their reports; empty when nothing was fine-tuned."""
    comparisons = []
    for split, record in (("val", finetune), ("test", verdict)):
        prefix = f"{split}_"
        values = {name.removeprefix(prefix): value for name, value in record.items() if name.startswith(prefix)}
        if {"accuracy_before", "accuracy_after", "difference_low", "difference_high"} <= values.keys():
            comparisons.append(SplitComparison(split=SPLIT_NAMES[split], values=values))
    return comparisons


def _format_independence(metrics: Record) -> str:
    groups = f"The test images are {metrics['num_test_groups']:,} independent groups, of which the intervals are"
    num_leaked, unleaked = metrics["num_leaked"], metrics.get("accuracy_unleaked")
    if num_leaked is None:
        return f"{groups}; near-duplicates were not looked for."
    if not num_leaked:
        return f"{groups}; none of them has a near-duplicate in train or validation."
    text = f"{groups}. {num_leaked:,} of the images have a near-duplicate in train or validation"
    if unleaked is None:
        return f"{text}: this accuracy says nothing about new images."
    low, high = metrics["accuracy_unleaked_low"], metrics["accuracy_unleaked_high"]
    return f"{text}; without them the accuracy is {unleaked:.1%} ({low:.1%} to {high:.1%})."


def _format_baselines(metrics: Record) -> str:
    names = {"majority": "always the commonest class", "pixels": "grey pixels without a network",
             "neighbours": "the nearest training images"}  # fmt: skip
    known = {name: metrics[f"{name}_accuracy"] for name in names if f"{name}_accuracy" in metrics}
    if not known:
        return f"Balanced accuracy is {metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.1%}."
    best = max(known, key=lambda name: known[name])
    return (
        f"The best of the baselines, {names[best]}, reaches {known[best]:.1%}. Balanced accuracy is "
        f"{metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.1%}."
    )


def _format_coverage(metrics: Record) -> str:
    if metrics["selective_accuracy"] is None:
        return "It is unsure of every test image, and gives no answer."
    if metrics["coverage"] == 1:
        return "It is sure enough of every test image to answer."
    return (
        f"It answers {metrics['coverage']:.1%} of the test images, {metrics['selective_accuracy']:.1%} of them right; "
        "the others are left to a person."
    )
