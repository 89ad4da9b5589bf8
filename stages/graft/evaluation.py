"""What the test split says about a classifier: the numbers, the tables and a summary for the terminal.

Letters: n images, c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft import metrics
from stages.graft.errors import DataError
from stages.graft.heads import Float32

NUM_DIGITS = 6
"""Of every number written, so that reports can be compared line by line."""

NUM_LINES = 5
"""Of the summary's lists."""

MAX_NAME = 40
"""Of a class's name in the summary, in characters."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scored test images."""

    images: pd.DataFrame
    """Columns id, file, label; n rows."""
    classes: tuple[str, ...]
    """Class names in the order of the logits, c of them."""
    logits: Float32
    """Shape (n, c)."""

    @cached_property
    def y(self) -> metrics.Labels:
        """True classes, shape (n,).

        Raises:
            DataError: an image is of a class the model does not know.
        """
        unknown = sorted(set(self.images["label"]) - set(self.classes))
        if unknown:
            raise DataError(f"the model knows no class {unknown[0]!r}, only {', '.join(self.classes)}; run `dvc repro`")
        index = {label: k for k, label in enumerate(self.classes)}
        return np.array([index[label] for label in self.images["label"]], dtype=np.int64)

    @cached_property
    def predicted(self) -> metrics.Labels:
        """The class of the highest logit, shape (n,)."""
        return np.asarray(self.logits.argmax(axis=1), dtype=np.int64)

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Shape (n, c)."""
        return metrics.softmax(self.logits)

    @cached_property
    def confusion(self) -> metrics.Labels:
        """Images by true and predicted class, shape (c, c)."""
        return metrics.confusion_matrix(self.predicted, self.y, len(self.classes))

    @cached_property
    def class_scores(self) -> list[metrics.ClassScore]:
        """Precision, recall and F1 of every class."""
        return metrics.class_scores(self.confusion, self.classes)


def metrics_record(evaluation: Evaluation, confidence_level: float) -> dict[str, float]:
    """Put the figures that describe the whole into one flat record.

    Args:
        evaluation: the scored test images.
        confidence_level: of the accuracy's interval, in (0, 1).
    """
    num_test = len(evaluation.y)
    low, high = metrics.wilson_interval(int(np.trace(evaluation.confusion)), num_test, confidence_level)
    present = [score for score in evaluation.class_scores if score.num_images]
    record = {
        "accuracy": metrics.accuracy(evaluation.predicted, evaluation.y),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": float(np.mean([score.recall for score in present])),
        "macro_f1": float(np.mean([score.f1 for score in present])),
        "log_loss": metrics.log_loss(evaluation.logits, evaluation.y),
        "ece": metrics.expected_calibration_error(evaluation.probabilities, evaluation.y),
    }
    return {name: round(value, NUM_DIGITS) for name, value in record.items()} | {"num_test": num_test}


def predictions_table(evaluation: Evaluation) -> pd.DataFrame:
    """List every image: id, file, label, predicted, confidence (the predicted class's probability)."""
    confidence = evaluation.probabilities.max(axis=1).round(NUM_DIGITS)
    names = [evaluation.classes[k] for k in evaluation.predicted]
    return evaluation.images[["id", "file", "label"]].assign(predicted=names, confidence=confidence)


def confusion_table(evaluation: Evaluation) -> pd.DataFrame:
    """List actual and predicted class of every image, as DVC's confusion template takes them."""
    return pd.DataFrame(
        {
            "actual": evaluation.images["label"].to_list(),
            "predicted": [evaluation.classes[k] for k in evaluation.predicted],
        }
    )


def per_class_table(evaluation: Evaluation) -> pd.DataFrame:
    """List class, precision, recall, f1, num_test, in the order of the classes."""
    rows = [
        (score.label, score.precision, score.recall, score.f1, score.num_images) for score in evaluation.class_scores
    ]
    table = pd.DataFrame(rows, columns=["class", "precision", "recall", "f1", "num_test"])
    return table.round(NUM_DIGITS)


def summary(evaluation: Evaluation, record: dict[str, float], confidence_level: float) -> str:
    """Say in a few lines how good the classifier is and where it errs."""
    return "\n".join(
        [
            f"{record['num_test']} test images, accuracy {record['accuracy']:.1%} "
            f"({confidence_level:.0%} interval {record['accuracy_low']:.1%} to {record['accuracy_high']:.1%})",
            f"  balanced accuracy {record['balanced_accuracy']:.1%}, macro-F1 {record['macro_f1']:.1%}, "
            f"log loss {record['log_loss']:.3f} nats, ECE {record['ece']:.1%}",
            *_weakest_lines(evaluation.class_scores),
            *_confused_lines(evaluation.confusion, evaluation.classes),
        ]
    )


def _weakest_lines(scores: Sequence[metrics.ClassScore]) -> list[str]:
    shown = sorted(scores, key=lambda score: score.f1)[:NUM_LINES]  # of equals, the order of the classes
    title = f"weakest {len(shown)} of {len(scores)} classes" if len(shown) < len(scores) else "class"
    width = max(len(title), *(min(len(score.label), MAX_NAME) for score in shown))
    return [f"  {title:{width}}  precision  recall      F1  images"] + [
        f"  {_short(score.label):{width}}  {score.precision:9.1%}  {score.recall:6.1%}  {score.f1:6.1%}"
        f"  {score.num_images:6}"
        for score in shown
    ]


def _confused_lines(confusion: metrics.Labels, classes: Sequence[str]) -> list[str]:
    errors = confusion - np.diag(np.diag(confusion))
    pairs = [(int(errors[a, b]), int(a), int(b)) for a, b in np.argwhere(errors)]
    if not pairs:
        return ["  no image was taken for another class"]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    lines = [f"  {count:6} {_short(classes[a])} taken for {_short(classes[b])}" for count, a, b in pairs[:NUM_LINES]]
    return ["  most confused", *lines]


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
