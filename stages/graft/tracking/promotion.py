"""Whether a new model becomes the champion: both models on the same test images, compared image by image."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.graft.metrics.paired_comparison import mcnemar

SIGNIFICANCE = 0.05
"""A challenger that is worse with a smaller p-value (McNemar, exact, two-sided) is refused."""

TOLERANCE = 0.01
"""How far a challenger's accuracy may be below the champion's, [0, 1]; one image is always allowed. The test alone
lets much pass with few images: of 30, five more errors (p = 0.06). No tolerance at all would refuse a retrained model
for a single image. The gate limits the sum of many small steps down."""

COLUMNS = ("id", "label", "predicted")
"""Columns of a table of predictions that are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A model's answer on one test image."""

    label: str
    """The true class."""
    predicted: str
    """The predicted class."""


Predictions = Mapping[str, Prediction]
"""A model's answers on its test images, by id."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The decision on a challenger."""

    is_promoted: bool
    """Whether it becomes the champion."""
    reason: str
    """A sentence without its full stop."""


def read_predictions(table: Path) -> Predictions:
    """Read a CSV table of predictions with at least COLUMNS."""
    with table.open(newline="", encoding="utf-8") as lines:
        return {row["id"]: Prediction(label=row["label"], predicted=row["predicted"]) for row in csv.DictReader(lines)}


def decide_promotion(champion: Predictions | None, challenger: Predictions) -> Promotion:
    """Promote a challenger unless it is worse on the same images.

    It is worse if p is below SIGNIFICANCE, or if its accuracy is lower by more than TOLERANCE and by more than one
    image. Both models are judged by the challenger's labels: they are today's, if one was corrected. The champion is
    None when its predictions are not on record.
    """
    if champion is None:
        reason = "the champion's predictions are not on record, so they are not compared"
        return Promotion(is_promoted=False, reason=reason)
    if champion.keys() != challenger.keys() or not challenger:
        num_shared = len(champion.keys() & challenger.keys())
        sizes = f"{len(challenger)} now, {len(champion)} then, {num_shared} of them the same"
        return Promotion(is_promoted=False, reason=f"the champion was tested on other images ({sizes}): no comparison")
    right = {id_: answer.predicted == answer.label for id_, answer in challenger.items()}
    right_before = {id_: champion[id_].predicted == answer.label for id_, answer in challenger.items()}
    num_gained = sum(right[id_] and not right_before[id_] for id_ in right)
    num_lost = sum(right_before[id_] and not right[id_] for id_ in right)
    return _weigh(num_gained, num_lost, sum(right.values()), len(right))


def _weigh(num_gained: int, num_lost: int, num_right: int, num_images: int) -> Promotion:
    """Decide by the images that only one of the two models has right."""
    p_value, num_worse = mcnemar(num_gained, num_lost), num_lost - num_gained
    is_promoted = num_worse <= 0 or (p_value >= SIGNIFICANCE and num_worse <= max(1, TOLERANCE * num_images))
    shares = f"{num_right / num_images:.1%} against the champion's {(num_right + num_worse) / num_images:.1%}"
    counts = f"{num_gained} images gained, {num_lost} lost, McNemar p = {p_value:.2g}"
    verb = "no worse than the champion" if is_promoted else "worse than the champion"
    reason = f"{verb} on the same {num_images} test images: {shares} ({counts})"
    return Promotion(is_promoted=is_promoted, reason=reason)
