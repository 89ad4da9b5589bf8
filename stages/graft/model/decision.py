"""The decision rule: calibrated confidence, and which images are unsure or unknown (out of distribution).

decision.json          the temperature and both thresholds, with their figures on validation; written last
novelty.safetensors    the detector of out-of-distribution images
"""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from stages.graft.core.errors import DataError, printable
from stages.graft.heads.head import Float32
from stages.graft.metrics.calibration import fit_temperature
from stages.graft.metrics.classification import Labels, softmax
from stages.graft.metrics.selective import Threshold, choose_threshold
from stages.graft.model.false_alarms import ENOUGH_GROUPS, measure_known
from stages.graft.model.model_folder import Model
from stages.graft.model.novelty import NoveltyDetector, fit_novelty
from stages.graft.model.scoring import ScoredSet
from stages.graft.storage.arrays import read_arrays, write_arrays
from stages.graft.storage.files import write_json
from stages.graft.storage.records import read_record

RULE, NOVELTY = "decision.json", "novelty.safetensors"

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """Temperature, thresholds and detector, fitted to train and validation alone."""

    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    temperature: float
    """Divisor of the logits, above 0."""
    target_accuracy: float
    """Wanted accuracy of the answers that are not unsure, in (0, 1)."""
    threshold: Threshold
    """An answer of lower confidence is unsure."""
    false_alarm_rate: float
    """Wanted share of in-distribution images that count as unknown, in (0, 1)."""
    unknown_above: float | None
    """An image of a larger distance is unknown; None: there were too few images to choose it, and none is."""
    detector: NoveltyDetector
    """Gives the distance."""
    num_known_groups: int | None = None
    """Groups of images that the distance was chosen with; None in bundles of earlier versions."""

    @property
    def distance_limit(self) -> float:
        """As `unknown_above`; infinite when no image is unknown."""
        return math.inf if self.unknown_above is None else self.unknown_above


@dataclass(frozen=True, kw_only=True)
class _RuleRecord:
    """The content of decision.json: a rule without its detector."""

    classes: tuple[str, ...]
    temperature: Annotated[float, Field(gt=1e-3, lt=1e3)]
    target_accuracy: Share
    threshold: Threshold
    false_alarm_rate: Share
    unknown_above: Annotated[float, Field(ge=0, lt=1e30)] | None
    num_known_groups: Annotated[int, Field(ge=0)] | None = None


_RECORD = TypeAdapter(_RuleRecord)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A rule's answers to n images."""

    predicted: Labels
    """The class of the highest logit, shape (n,)."""
    calibrated: Float32
    """Logits divided by the temperature, shape (n, c)."""
    unsure: npt.NDArray[np.bool_]
    """Whether the confidence is below the threshold, shape (n,)."""
    distance: npt.NDArray[np.float64]
    """Distance from the nearest class, about 1 or less for in-distribution images, shape (n,)."""
    unknown: npt.NDArray[np.bool_]
    """Whether the distance is above the threshold, shape (n,)."""

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, shape (n, c)."""
        return softmax(self.calibrated)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """Calibrated probability of the predicted class, shape (n,)."""
        return np.asarray(self.probabilities.max(axis=1))


def fit_rule(
    model: Model, train: ScoredSet, val: ScoredSet, target_accuracy: float, false_alarm_rate: float
) -> DecisionRule:
    """Fit the temperature and the threshold of confidence to validation, the detector to train.

    Args:
        model: gives the classes, and whether its network was fine-tuned.
        train, val: the images that the model scored.
        target_accuracy, false_alarm_rate: as in `DecisionRule`.
    Raises:
        DataError: there is no validation image.
    """
    if not len(val.y):
        raise DataError("there is no validation image to choose thresholds with; check the split")
    temperature = fit_temperature(val.logits, val.y)
    confidence = softmax(val.logits / np.float32(temperature)).max(axis=1)
    detector = fit_novelty(train.x, train.y)
    known = measure_known(detector, train, val, ENOUGH_GROUPS if model.kind == "frozen" else 0)
    return DecisionRule(
        classes=model.classes,
        temperature=temperature,
        target_accuracy=target_accuracy,
        threshold=choose_threshold(confidence, val.logits.argmax(axis=1) == val.y, target_accuracy),
        false_alarm_rate=false_alarm_rate,
        unknown_above=known.unknown_above(false_alarm_rate),
        detector=detector,
        num_known_groups=known.num_groups,
    )


def answer(rule: DecisionRule, x: Float32, logits: Float32) -> Answers:
    """Apply a rule to images: their features, shape (n, d), and logits, shape (n, c)."""
    calibrated = logits / np.float32(rule.temperature)
    distance = rule.detector.distances(x)
    return Answers(
        predicted=logits.argmax(axis=1).astype(np.int64),
        calibrated=calibrated,
        # So written, NaN is unsure and unknown.
        unsure=~(softmax(calibrated).max(axis=1) >= rule.threshold.confidence),
        distance=distance,
        unknown=~(distance <= rule.distance_limit),
    )


def save_rule(rule: DecisionRule, folder: Path) -> None:
    """Write a rule's folder."""
    write_arrays(vars(rule.detector), folder / NOVELTY)
    record = {name: value for name, value in vars(rule).items() if name not in ("detector", "threshold")}
    # Written last: without it, the folder is not a rule.
    write_json(record | {"threshold": asdict(rule.threshold)}, folder / RULE)


def load_rule(folder: Path) -> DecisionRule:
    """Read a rule's folder.

    Raises:
        DataError: a file is missing or damaged, or a value is out of range.
    """
    record = read_record(folder / RULE, _RECORD)
    return DecisionRule(**vars(record), detector=_read_detector(folder / NOVELTY))


def _read_detector(path: Path) -> NoveltyDetector:
    arrays = read_arrays(path)
    shapes = {name: array.shape for name, array in arrays.items()}
    projection, centres = (shapes.get(name, ()) for name in ("projection", "centres"))
    if len(shapes) != 2 or (len(projection), len(centres)) != (2, 2) or not centres[0] or projection[1] != centres[1]:
        raise DataError(
            f"{path} is not a detector: its arrays are {printable(str(shapes))}; `dvc repro` makes it again"
        )
    return NoveltyDetector(**arrays)
