"""Measures of a classifier, computed with numpy alone. Letters: n images, c classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
"""Class indices in [0, c), shape (n,)."""

NUM_BINS = 15
"""Number of bins of equal width, for the calibration error and the reliability table."""


def softmax(logits: Float) -> npt.NDArray[np.float64]:
    """Turn logits (n, c) into probabilities (n, c)."""
    return np.asarray(np.exp(_log_softmax(logits)))


def accuracy(predicted: Labels, y: Labels) -> float:
    """Share of images whose predicted class is the true one."""
    return float(np.mean(predicted == y))


def log_loss(logits: Float, y: Labels, weights: npt.NDArray[np.float64] | None = None) -> float:
    """Mean of -log p(true class) by logits (n, c), in nats; `weights` (c,) are those of the classes in the mean."""
    return float(np.average(log_losses(logits, y), weights=None if weights is None else weights[y]))


def log_losses(logits: Float, y: Labels) -> npt.NDArray[np.float64]:
    """Compute -log p(true class) of each image, in nats, shape (n,)."""
    return -_log_softmax(logits)[np.arange(len(y)), y]


def wilson_interval(num_correct: float, num_images: float, confidence_level: float = 0.95) -> tuple[float, float]:
    """Compute the confidence interval of an accuracy on at least one image; reliable for few and for accuracies near 1.

    The numbers need not be whole: an effective number of images is a fraction.

    Source:
        Wilson, Probable inference, JASA 1927; Brown, Cai and DasGupta, Statistical Science 2001, eq. 4.
    """
    z = NormalDist().inv_cdf((1 + confidence_level) / 2)
    share, shrink = num_correct / num_images, 1 + z**2 / num_images
    middle = (share + z**2 / (2 * num_images)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / num_images + z**2 / (4 * num_images**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def group_interval(correct: npt.NDArray[np.bool_], groups: Labels, confidence_level: float) -> tuple[float, float]:
    """Compute the interval of an accuracy on images that are not independent: Wilson's, of an effective number.

    A group counts as a single answer, as if its images were always right or wrong together; where they are not, the
    interval is wider than it need be. With groups of one image it is Wilson's own.

    Args:
        correct: whether each answer is right, shape (n,).
        groups: number of each image's group, shape (n,).
    Returns:
        Both ends; NaN without images.
    Source:
        Kish, Survey Sampling, 1965, section 5.4 (design effect of clusters with a correlation of 1); Korn and Graubard,
        Survey Methodology 1998 (an effective sample size in an interval for proportions).
    """
    if not len(correct):
        return np.nan, np.nan
    num_images = effective_number(groups)
    return wilson_interval(float(correct.mean()) * num_images, num_images, confidence_level)


def effective_number(groups: Labels) -> float:
    """Number of independent images that n images in groups are worth, n² / sum of squared sizes; n when all differ."""
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def expected_calibration_error(probabilities: Float, y: Labels, num_bins: int = NUM_BINS) -> float:
    """Mean distance between confidence and accuracy over bins of equal width; each image has the same weight.

    Args:
        probabilities: shape (n, c).
        y: class indices.
        num_bins: as in `confidence_bins`.

    Source:
        Guo et al., On calibration of modern neural networks, ICML 2017, eq. 3.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    gaps = np.bincount(confidence_bins(confidence, num_bins), weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(y))


def confidence_bins(confidence: Float, num_bins: int = NUM_BINS) -> Labels:
    """Number of the bin of each confidence: 0 for (0, 1/num_bins], 1 for the next, ..., shape (n,)."""
    return np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


def area_under_roc(known: Float, unknown: Float) -> float:
    """Probability that an unknown image has a higher score than a known one, of at least one each; a tie counts half.

    Source:
        Hanley and McNeil, Radiology 1982: the area under the ROC curve is Wilcoxon's statistic.
    """
    ordered = np.sort(known)
    below, not_above = np.searchsorted(ordered, unknown, "left"), np.searchsorted(ordered, unknown, "right")
    return float((below + not_above).mean() / (2 * len(known)))


def confusion_matrix(predicted: Labels, y: Labels, num_classes: int) -> Labels:
    """Count images by true class (rows) and predicted class (columns), shape (c, c)."""
    counts = np.bincount(y * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Measures of one class."""

    label: str
    """Name of the class."""
    precision: float
    """Share of the images predicted as this class that belong to it; 0 without such predictions."""
    recall: float
    """Share of its images that are predicted as this class; 0 without images."""
    f1: float
    """Harmonic mean of precision and recall; 0 when both are 0."""
    num_images: int
    """Number of its images."""


def class_scores(confusion: Labels, classes: Sequence[str]) -> list[ClassScore]:
    """Measure every class, in the order of the confusion matrix."""
    correct, num_predicted, num_images = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return [
        ClassScore(
            label=label,
            precision=_share(correct[k], num_predicted[k]),
            recall=_share(correct[k], num_images[k]),
            f1=_share(2 * correct[k], num_predicted[k] + num_images[k]),
            num_images=int(num_images[k]),
        )
        for k, label in enumerate(classes)
    ]


def _share(part: np.int64, total: np.int64) -> float:
    return float(part / total) if total else 0.0


def _log_softmax(logits: Float) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
