"""Summary of a classifier for the terminal: how good it is, its weakest class, and how often it is sure."""

from collections.abc import Mapping

from stages.graft.core.errors import printable
from stages.graft.evaluation.results import Evaluation
from stages.graft.metrics.conformal import least_groups
from stages.graft.model.decision import DecisionRule

MAX_NAME = 40
"""Largest length of a class name in the summary, in characters."""

Record = Mapping[str, float | None]


def format_summary(evaluation: Evaluation, record: Record, rule: DecisionRule) -> list[str]:
    """Describe in a line how good the classifier is; further ones warn of test images that it may have seen, and of
    too few images to call any of them unknown.

    Args:
        evaluation: the scored test images.
        record: the metrics as written.
        rule: how the model decides to answer.
    """
    low, high = (record[f"accuracy_{end}"] for end in ("low", "high"))
    line = (
        f"{record['accuracy']:.1%} of {record['num_test']} test images right "
        f"({evaluation.confidence_level:.0%} interval {low:.1%} to {high:.1%}){_weakest(evaluation)}; {_sure(record)}"
    )
    return [line, *_leaks(record), *_unknown(rule)]


def _weakest(evaluation: Evaluation) -> str:
    """The class of which the smallest share is found; nothing when every class is found completely."""
    present = [score for score in evaluation.class_scores if score.num_images]
    worst = min(present, key=lambda score: score.recall)  # of equals, the order of the classes
    if worst.recall == 1:
        return ""
    label = printable(worst.label)
    name = label if len(label) <= MAX_NAME else label[: MAX_NAME - 1] + "…"
    return f", weakest {name} with {worst.recall:.1%} found"


def _sure(record: Record) -> str:
    accuracy = record["selective_accuracy"]
    if accuracy is None:
        return "sure of none"
    return f"sure of {record['coverage']:.1%}, of which {accuracy:.1%} right"


def _leaks(record: Record) -> list[str]:
    if not record["num_leaked"]:
        return []
    accuracy = record["accuracy_unleaked"]
    rest = "none is left" if accuracy is None else f"without them {accuracy:.1%} right"
    return [f"{record['num_leaked']} of them have a near-duplicate in train or validation; {rest}"]


def _unknown(rule: DecisionRule) -> list[str]:
    if rule.unknown_above is not None:
        return []
    return [
        f"no image is called unknown: {rule.num_known_groups} independent images are too few to promise "
        f"{rule.false_alarm_rate:.1%} false alarms, {least_groups(rule.false_alarm_rate)} are needed"
    ]
