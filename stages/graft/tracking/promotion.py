"""Whether a new model may take the champion's place: both on the same test images, compared image by image."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.graft.metrics.paired_comparison import mcnemar

SIGNIFICANCE = 0.05
"""A challenger that is worse with a smaller p-value (McNemar, exact, two-sided) is refused."""

TOLERANCE = 0.01
"""By how much a challenger's accuracy may be below the champion's, [0, 1], and by one image in any case. The test alone
lets much pass where there are few images: of 30, five more errors (p = 0.06). A tolerance of none would refuse a
retrained model for a single image that chance turned over. What many small steps down add up to, the gate bounds."""

COLUMNS = ("id", "label", "predicted")
"""Of a table of predictions, those that are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One test image."""

    label: str
    """Its class."""
    predicted: str
    """What the model says."""


Predictions = Mapping[str, Prediction]
"""A model's test images, by id."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What becomes of a challenger."""

    follows: bool
    """Whether it is the champion from now on."""
    reason: str
    """A sentence without its full stop."""


def read_predictions(table: Path) -> Predictions:
    """Read a CSV table of predictions with at least COLUMNS."""
    with table.open(newline="", encoding="utf-8") as lines:
        return {row["id"]: Prediction(label=row["label"], predicted=row["predicted"]) for row in csv.DictReader(lines)}


def decide_promotion(champion: Predictions | None, challenger: Predictions) -> Promotion:
    """Decide whether a challenger follows the champion: it does unless the same images speak against it.

    Against it speaks that it is worse with p below SIGNIFICANCE, or that its accuracy is lower by more than TOLERANCE
    and by more than one image. Both are judged by the challenger's labels: they are today's, should one have been
    corrected since.

    Args:
        champion: its test images; None when it has none on record.
        challenger: its test images.
    """
    if champion is None:
        return Promotion(follows=False, reason="the champion's predictions are not on record, so they are not compared")
    if champion.keys() != challenger.keys() or not challenger:
        shared = len(champion.keys() & challenger.keys())
        sizes = f"{len(challenger)} here, {len(champion)} there, {shared} of them the same"
        return Promotion(follows=False, reason=f"the champion was tested on other images ({sizes}): no comparison")
    right = {id_: call.predicted == call.label for id_, call in challenger.items()}
    right_before = {id_: champion[id_].predicted == call.label for id_, call in challenger.items()}
    gained = sum(right[id_] and not right_before[id_] for id_ in right)
    lost = sum(right_before[id_] and not right[id_] for id_ in right)
    return _weigh(gained, lost, sum(right.values()), len(right))


def _weigh(gained: int, lost: int, num_right: int, num_images: int) -> Promotion:
    """Weigh the images that only one of the two has right."""
    p_value = mcnemar(gained, lost)
    follows = lost <= gained or (p_value >= SIGNIFICANCE and lost - gained <= max(1, TOLERANCE * num_images))
    shares = f"{num_right / num_images:.1%} against the champion's {(num_right - gained + lost) / num_images:.1%}"
    counts = f"{gained} images gained, {lost} lost, McNemar p = {p_value:.2g}"
    verb = "no worse than the champion" if follows else "worse than the champion"
    return Promotion(follows=follows, reason=f"{verb} on the same {num_images} test images: {shares} ({counts})")
