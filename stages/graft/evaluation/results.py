"""Results of a classifier on the test split: metrics and tables.

Letters: n images, c classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.data.image_groups import independent_groups, leaked
from stages.graft.data.split_names import TRAIN, VAL
from stages.graft.evaluation.unseen_classes import UnseenClass
from stages.graft.heads.head import Float32
from stages.graft.metrics import classification
from stages.graft.metrics.calibration import reliability_table
from stages.graft.metrics.selective import risk_coverage_table, selective_accuracy
from stages.graft.model.decision import Answers
from stages.graft.model.scoring import class_indices
from stages.graft.storage.tables import write_report_csv

NUM_DIGITS = 6
"""Decimal digits of every number written, so that reports can be compared line by line."""


Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scored test images."""

    images: pd.DataFrame
    """Columns id, file, label; n rows."""
    groups: classification.Labels
    """Number of each image's group: images of one group are no independent evidence, shape (n,)."""
    leaked: npt.NDArray[np.bool_]
    """Whether an image has a near-duplicate in train or val, shape (n,)."""
    is_checked: bool
    """Whether near-duplicates were looked for."""
    classes: tuple[str, ...]
    """Class names in the order of the logits, c of them."""
    num_train: classification.Labels
    """Training images of each class, shape (c,)."""
    logits: Float32
    """As the model gives them, before calibration, shape (n, c)."""
    answers: Answers
    """The decision rule's answers."""
    num_labels: int
    """Images in training and validation."""
    confidence_level: float
    """Of every interval (Wilson, of groups), in (0, 1)."""

    @cached_property
    def y(self) -> classification.Labels:
        """True classes, shape (n,)."""
        return class_indices(self.images["label"].to_list(), self.classes)

    @property
    def num_leaked(self) -> int | None:
        """Number of leaked images; None when near-duplicates were not looked for."""
        return int(self.leaked.sum()) if self.is_checked else None

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true one, shape (n,)."""
        return np.asarray(self.answers.predicted == self.y)

    def interval(self, correct: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_] | None = None) -> Interval:
        """Compute the interval of a share of images, all or those chosen, shape (n,); NaN without images."""
        chosen = np.ones(len(correct), bool) if chosen is None else chosen
        return classification.group_interval(correct[chosen], self.groups[chosen], self.confidence_level)

    @cached_property
    def confusion(self) -> classification.Labels:
        """Images by true and predicted class, shape (c, c)."""
        return classification.confusion_matrix(self.answers.predicted, self.y, len(self.classes))

    @cached_property
    def class_scores(self) -> list[classification.ClassScore]:
        """Precision, recall and F1 of every class."""
        return classification.class_scores(self.confusion, self.classes)

    @cached_property
    def names(self) -> list[str]:
        """Names of the predicted classes, n of them."""
        return [self.classes[k] for k in self.answers.predicted]


def evaluate_answers(
    images: pd.DataFrame, classes: tuple[str, ...], logits: Float32, answers: Answers, level: float, is_checked: bool
) -> Evaluation:
    """Put together the scored test images, and what the other images say of them.

    Args:
        images: all of them, columns id, file, label, group, duplicates and split; those in test in the order scored.
        classes, logits, answers, is_checked: as in Evaluation.
        level: the confidence level.
    """
    is_test = (images["split"] == "test").to_numpy(dtype=bool)
    trained_on = class_indices(images.loc[images["split"] == "train", "label"].to_list(), classes)
    return Evaluation(
        images=images[is_test],
        groups=independent_groups(images)[is_test],
        leaked=leaked(images)[is_test],
        is_checked=is_checked,
        classes=classes,
        num_train=np.bincount(trained_on, minlength=len(classes)),
        logits=logits,
        answers=answers,
        num_labels=int(images["split"].isin([TRAIN, VAL]).sum()),
        confidence_level=level,
    )


def accuracy_record(evaluation: Evaluation, predicted: classification.Labels) -> dict[str, float]:
    """Score predicted classes, shape (n,), of the test images; means over classes leave out those without images."""
    y, classes = evaluation.y, evaluation.classes
    low, high = evaluation.interval(predicted == y)
    scores = classification.class_scores(classification.confusion_matrix(predicted, y, len(classes)), classes)
    present = [score for score in scores if score.num_images]
    return {
        "accuracy": classification.accuracy(predicted, y),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": float(np.mean([score.recall for score in present])),
        "macro_f1": float(np.mean([score.f1 for score in present])),
    }


def metrics_record(evaluation: Evaluation) -> dict[str, float | None]:
    """Compute the metrics of all images together, in one flat record; None for a mean of nothing."""
    answers, y = evaluation.answers, evaluation.y
    record = {
        **accuracy_record(evaluation, answers.predicted),
        "log_loss": classification.log_loss(answers.calibrated, y),
        "log_loss_uncalibrated": classification.log_loss(evaluation.logits, y),
        "ece": classification.expected_calibration_error(answers.probabilities, y),
        "ece_uncalibrated": classification.expected_calibration_error(classification.softmax(evaluation.logits), y),
        "coverage": float(np.mean(~answers.unsure)),
        "selective_accuracy": selective_accuracy(~answers.unsure, evaluation.correct),
    }
    return rounded(record | unleaked_record(evaluation)) | {
        "num_test": len(y),
        "num_test_groups": len(np.unique(evaluation.groups)),
        "num_leaked": evaluation.num_leaked,
    }


def headline_record(
    metrics: Mapping[str, float | None], scores: Sequence[classification.ClassScore]
) -> dict[str, float | None]:
    """Choose the few numbers that people compare in DVC's tables; their order is the columns' order.

    Args:
        metrics: as `metrics_record` gives them.
        scores: of every class.
    """
    same = {name: metrics[name] for name in ("accuracy", "accuracy_low", "balanced_accuracy")}
    lowest = min(score.recall for score in scores if score.num_images)
    rest = {"lowest_recall": lowest, "answered": metrics["coverage"], "log_loss": metrics["log_loss"]}
    return rounded(same | rest)


def unleaked_record(evaluation: Evaluation) -> dict[str, float | None]:
    """Score the test images without near-duplicates in train or val; empty when none has any, None when all have."""
    chosen = ~evaluation.leaked
    if chosen.all():
        return {}
    names = ("accuracy_unleaked", "accuracy_unleaked_low", "accuracy_unleaked_high")
    if not chosen.any():
        return dict.fromkeys(names)
    values = float(evaluation.correct[chosen].mean()), *evaluation.interval(evaluation.correct, chosen)
    return dict(zip(names, values, strict=True))


def unknown_record(
    evaluation: Evaluation, unseen: Sequence[UnseenClass], num_known_groups: int | None
) -> dict[str, float | None]:
    """Measure how often images are called unknown: known ones, which should not be, and those of classes held out.

    Args:
        evaluation: the scored test images.
        unseen: what was measured of each class held out.
        num_known_groups: groups of images that chose the distance above which an image is unknown.
    Returns:
        false_alarms with its interval; unseen_auroc and unseen_found, means over classes, None when they cannot be
        measured; num_known_groups.
    """
    unknown, found = evaluation.answers.unknown, [one.found for one in unseen if one.found is not None]
    low, high = evaluation.interval(unknown)
    record = {"false_alarms": float(np.mean(unknown)), "false_alarms_low": low, "false_alarms_high": high}
    means = {
        "unseen_auroc": float(np.mean([one.auroc for one in unseen])) if unseen else None,
        "unseen_found": float(np.mean(found)) if found else None,
    }
    return rounded(record | means) | {"num_known_groups": num_known_groups}


def rounded(record: Mapping[str, float | None]) -> dict[str, float | None]:
    """Round every number of a record to NUM_DIGITS."""
    return {name: None if value is None else round(value, NUM_DIGITS) for name, value in record.items()}


def write_tables(evaluation: Evaluation, unseen: Sequence[UnseenClass], reports: Path) -> None:
    """Write every table of the test images: predictions.csv, and for plots those in the folder `plots`."""
    tables = {
        "predictions": predictions_table(evaluation),
        "plots/confusion": confusion_table(evaluation),
        "plots/per_class": per_class_table(evaluation, unseen),
        "plots/reliability": reliability(evaluation),
        "plots/risk_coverage": risk_coverage(evaluation),
        "plots/labels": labels_table(evaluation),
    }
    for name, table in tables.items():
        write_report_csv(table, reports / f"{name}.csv")


def labels_table(evaluation: Evaluation) -> pd.DataFrame:
    """Give the labels that training and validation have and the accuracy on test: a point for each commit's plot."""
    low, high = evaluation.interval(evaluation.correct)
    row = {"accuracy": float(evaluation.correct.mean()), "accuracy_low": low, "accuracy_high": high}
    return pd.DataFrame([{"num_labels": evaluation.num_labels, **row}]).round(NUM_DIGITS)


def predictions_table(evaluation: Evaluation) -> pd.DataFrame:
    """List every image: id, file, label, predicted, confidence (calibrated), unsure, distance, unknown, and group.

    Images of one group show the same thing, or belong together.
    """
    answers = evaluation.answers
    return evaluation.images[["id", "file", "label"]].assign(
        predicted=evaluation.names,
        confidence=answers.confidence.round(NUM_DIGITS),
        unsure=answers.unsure,
        distance=answers.distance.round(NUM_DIGITS),
        unknown=answers.unknown,
        group=evaluation.groups,
    )


def confusion_table(evaluation: Evaluation) -> pd.DataFrame:
    """List actual and predicted class of every image, as DVC's confusion template takes them."""
    return pd.DataFrame({"actual": evaluation.images["label"].to_list(), "predicted": evaluation.names})


def per_class_table(evaluation: Evaluation, unseen: Sequence[UnseenClass]) -> pd.DataFrame:
    """List class, precision, recall, f1, the intervals of the first two, num_test and num_train of every class.

    The columns unseen_auroc and unseen_found are of detectors without the class. A share of no image has no interval;
    its cells are empty, like those of what was not measured.
    """
    rows = []
    for k, score in enumerate(evaluation.class_scores):
        precision = evaluation.interval(evaluation.correct, evaluation.answers.predicted == k)
        recall = evaluation.interval(evaluation.correct, evaluation.y == k)
        rows.append(
            (
                score.label,
                score.precision,
                *precision,
                score.recall,
                *recall,
                score.f1,
                score.num_images,
                evaluation.num_train[k],
            )
        )
    shares = ("precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high", "f1")
    table = pd.DataFrame(rows, columns=["class", *shares, "num_test", "num_train"])
    seen_without = {one.label: (one.auroc, np.nan if one.found is None else one.found) for one in unseen}
    pairs = [seen_without.get(label, (np.nan, np.nan)) for label in table["class"]]
    return table.assign(unseen_auroc=[a for a, _ in pairs], unseen_found=[b for _, b in pairs]).round(NUM_DIGITS)


def reliability(evaluation: Evaluation) -> pd.DataFrame:
    """List confidence against accuracy in bins, before and after calibration (column `calibration`)."""
    probabilities = {"before": classification.softmax(evaluation.logits), "after": evaluation.answers.probabilities}
    tables = [
        reliability_table(values, evaluation.y, evaluation.groups, evaluation.confidence_level).assign(calibration=name)
        for name, values in probabilities.items()
    ]
    return pd.concat(tables).round(NUM_DIGITS)


def risk_coverage(evaluation: Evaluation) -> pd.DataFrame:
    """List risk and coverage of the test images for every threshold of confidence."""
    return risk_coverage_table(evaluation.answers.confidence, evaluation.correct).round(NUM_DIGITS)
