"""Summary of a classifier for the terminal: how good it is, which errors it makes, when it is unsure."""

from collections.abc import Mapping, Sequence

import numpy as np

from stages.graft.evaluation.results import Evaluation
from stages.graft.metrics import classification
from stages.graft.model.decision import DecisionRule

NUM_LINES = 5
"""Largest number of lines in each of the summary's lists."""

MAX_NAME = 40
"""Largest length of a class name in the summary, in characters."""


def format_summary(evaluation: Evaluation, record: Mapping[str, float | None], rule: DecisionRule) -> str:
    """Describe in a few lines how good the classifier is, which errors it makes and when it is unsure.

    Args:
        evaluation: the scored test images.
        record: the metrics as written.
        rule: how the model decides to answer.
    """
    shown = {name: 0.0 if value is None else value for name, value in record.items()}
    return "\n".join(
        [
            f"{record['num_test']} test images, accuracy {shown['accuracy']:.1%} ({evaluation.confidence_level:.0%} "
            f"interval {shown['accuracy_low']:.1%} to {shown['accuracy_high']:.1%})",
            *_independence_lines(record),
            f"  balanced accuracy {shown['balanced_accuracy']:.1%}, macro-F1 {shown['macro_f1']:.1%}, "
            f"log loss {shown['log_loss']:.3f} nats, ECE {shown['ece']:.1%}",
            _calibration_line(shown, rule.temperature),
            *_abstention_lines(record, rule),
            f"  unknown: {shown['false_alarms']:.1%} of the test images, {shown['strangers_found']:.1%} of images that "
            f"show none of the classes (area under the ROC curve {shown['novelty_auroc']:.3f})",
            *_weakest_lines(evaluation.class_scores),
            *_confused_lines(evaluation.confusion, evaluation.classes),
        ]
    )


def _independence_lines(record: Mapping[str, float | None]) -> list[str]:
    """Nothing when every test image is independent evidence, and none has a near-duplicate in train or val."""
    lines = []
    if record["num_test_groups"] != record["num_test"]:
        lines.append(f"  they are {record['num_test_groups']} independent groups; intervals are of groups")
    if record["num_leaked"]:
        accuracy = record["accuracy_unleaked"]
        rest = "none is left" if accuracy is None else f"without them, accuracy {accuracy:.1%} ({_range(record)})"
        lines.append(f"  {record['num_leaked']} of them have a near-duplicate in train or validation; {rest}")
    return lines


def _range(record: Mapping[str, float | None]) -> str:
    low, high = (record[f"accuracy_unleaked_{end}"] for end in ("low", "high"))
    return f"{low:.1%} to {high:.1%}"


def _calibration_line(shown: Mapping[str, float], temperature: float) -> str:
    if temperature == 1:
        return "  calibration: as it is; validation asks for no other temperature"
    return (
        f"  calibration: temperature {temperature:.2f}; before, log loss {shown['log_loss_uncalibrated']:.3f} nats, "
        f"ECE {shown['ece_uncalibrated']:.1%}"
    )


def _abstention_lines(record: Mapping[str, float | None], rule: DecisionRule) -> list[str]:
    accuracy, threshold = record["selective_accuracy"], rule.threshold
    right = "none" if accuracy is None else f"{accuracy:.1%} of them right"
    where = f"below a confidence of {threshold.confidence:.3f} it is unsure" if threshold.confidence else "never unsure"
    lines = [f"  answers {record['coverage']:.1%} of the test images, {right}; {where}"]
    if not threshold.reached:
        lines.append(
            f"  the validation images show {threshold.accuracy:.1%} at best, not `evaluate.target_accuracy` "
            f"{rule.target_accuracy:.1%}: more of them, or a lower target"
        )
    return lines


def _weakest_lines(scores: Sequence[classification.ClassScore]) -> list[str]:
    shown = sorted(scores, key=lambda score: score.f1)[:NUM_LINES]  # of equals, the order of the classes
    title = f"weakest {len(shown)} of {len(scores)} classes" if len(shown) < len(scores) else "class"
    width = max(len(title), *(min(len(score.label), MAX_NAME) for score in shown))
    return [f"  {title:{width}}  precision  recall      F1  images"] + [
        f"  {_short(score.label):{width}}  {score.precision:9.1%}  {score.recall:6.1%}  {score.f1:6.1%}"
        f"  {score.num_images:6}"
        for score in shown
    ]


def _confused_lines(confusion: classification.Labels, classes: Sequence[str]) -> list[str]:
    errors = confusion - np.diag(np.diag(confusion))
    pairs = [(int(errors[a, b]), int(a), int(b)) for a, b in np.argwhere(errors)]
    if not pairs:
        return ["  no image was taken for another class"]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    lines = [f"  {count:6} {_short(classes[a])} taken for {_short(classes[b])}" for count, a, b in pairs[:NUM_LINES]]
    return ["  most confused", *lines]


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
