"""The result in sentences beside the decision, and whether fine-tuning helped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.graft.metrics.conformal import least_groups

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


def format_details(metrics: Record, false_alarm_rate: float) -> list[str]:
    """Describe in a few sentences what else to know before using the classifier; the rate is the one wanted."""
    return [
        f"Balanced accuracy is {metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.1%}.",
        _format_unknown(metrics, false_alarm_rate),
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


def _format_unknown(metrics: Record, rate: float) -> str:
    if metrics["num_known_groups"] < least_groups(rate):
        return (
            f"No image is called unknown: {metrics['num_known_groups']} independent images are too few to promise that "
            f"only {rate:.1%} of the known ones are; {least_groups(rate)} are needed."
        )
    text = (
        f"{metrics['false_alarms']:.1%} of the test images are called unknown though they are not "
        f"({metrics['false_alarms_low']:.1%} to {metrics['false_alarms_high']:.1%}; {rate:.1%} was asked for)"
    )
    if metrics["unseen_auroc"] is None:
        return f"{text}; with two classes, none can be held out to see whether images of another one are."
    if metrics["unseen_found"] is None:
        return f"{text}; without one of the classes, there are too few images to measure it on that class."
    return f"{text}; of the images of a class that was held out, {metrics['unseen_found']:.1%} are."
