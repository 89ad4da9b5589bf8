"""What a model says about an image beside its class: how sure it is, when a person must look, what it does not know.

decision.json          the temperature and both thresholds, with what validation said about them; written last
novelty.safetensors    the detector of unknown images
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.heads.head import Float32
from stages.graft.metrics.calibration import fit_temperature
from stages.graft.metrics.classification import Labels, softmax
from stages.graft.metrics.selective import Threshold, choose_threshold
from stages.graft.model.novelty import NoveltyDetector, false_alarm_threshold, fit_novelty
from stages.graft.model.scoring import ScoredSet
from stages.graft.storage.arrays import read_arrays, write_arrays
from stages.graft.storage.files import read_json, write_json

RULE, NOVELTY = "decision.json", "novelty.safetensors"


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """Fitted to train and validation alone."""

    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    temperature: float
    """What logits are divided by, above 0."""
    target_accuracy: float
    """Wished of the answers, in (0, 1)."""
    threshold: Threshold
    """Below its confidence the model is unsure."""
    false_alarm_rate: float
    """Share of known images that may count as unknown, in (0, 1)."""
    unknown_above: float
    """Distance above which an image counts as unknown."""
    detector: NoveltyDetector
    """Measures the distance."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a rule makes of n images."""

    predicted: Labels
    """The class of the highest logit, shape (n,)."""
    calibrated: Float32
    """Logits divided by the temperature, shape (n, c)."""
    unsure: npt.NDArray[np.bool_]
    """Whether the confidence is too low for an answer, shape (n,)."""
    distance: npt.NDArray[np.float64]
    """From the nearest class, about 1 or less for usual images, shape (n,)."""
    unknown: npt.NDArray[np.bool_]
    """Whether that is too far, shape (n,)."""

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Calibrated, shape (n, c)."""
        return softmax(self.calibrated)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """Probability of the predicted class, shape (n,)."""
        return np.asarray(self.probabilities.max(axis=1))


def fit_rule(
    classes: tuple[str, ...], train: ScoredSet, val: ScoredSet, target_accuracy: float, false_alarm_rate: float
) -> DecisionRule:
    """Fit the temperature and both thresholds to validation, the detector to train.

    Raises:
        DataError: there is no validation image.
    """
    if not len(val.y):
        raise DataError("there is no validation image to choose thresholds by; check the split")
    temperature = fit_temperature(val.logits, val.y)
    confidence = softmax(val.logits / np.float32(temperature)).max(axis=1)
    detector = fit_novelty(train.x, train.y, len(classes))
    return DecisionRule(
        classes=classes,
        temperature=temperature,
        target_accuracy=target_accuracy,
        threshold=choose_threshold(confidence, val.logits.argmax(axis=1) == val.y, target_accuracy),
        false_alarm_rate=false_alarm_rate,
        unknown_above=false_alarm_threshold(detector.distances(val.x), false_alarm_rate),
        detector=detector,
    )


def answer(rule: DecisionRule, images: ScoredSet) -> Answers:
    """Apply a rule to images."""
    calibrated = images.logits / np.float32(rule.temperature)
    distance = rule.detector.distances(images.x)
    return Answers(
        predicted=images.logits.argmax(axis=1).astype(np.int64),
        calibrated=calibrated,
        unsure=softmax(calibrated).max(axis=1) < rule.threshold.confidence,
        distance=distance,
        unknown=distance > rule.unknown_above,
    )


def save_rule(rule: DecisionRule, folder: Path) -> None:
    """Write a rule's folder."""
    arrays = {"projection": rule.detector.projection, "centres": rule.detector.centres}
    write_arrays(arrays, folder / NOVELTY)
    record = {name: value for name, value in vars(rule).items() if name not in ("detector", "threshold")}
    write_json(
        record | {"threshold": asdict(rule.threshold)}, folder / RULE
    )  # last: without it, the folder is not a rule


def load_rule(folder: Path) -> DecisionRule:
    """Read a rule's folder.

    Raises:
        DataError: a file is missing or damaged.
    """
    record, arrays = read_json(folder / RULE), read_arrays(folder / NOVELTY)
    try:
        fields: dict[str, Any] = record | {"classes": tuple(record["classes"])}
        threshold = Threshold(**fields.pop("threshold"))
        return DecisionRule(**fields, threshold=threshold, detector=NoveltyDetector(**arrays))
    except (TypeError, KeyError) as error:
        raise DataError(f"{folder} is not a decision rule ({error}); `dvc repro` makes it anew") from None
