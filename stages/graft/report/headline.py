"""The result in sentences beside the decision, and whether fine-tuning helped."""

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


def format_details(metrics: Record) -> list[str]:
    """Describe in a few sentences what else to know before using the classifier."""
    return [
        f"Balanced accuracy is {metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.1%}.",
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
