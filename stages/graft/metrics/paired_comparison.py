"""Comparison of two classifiers on the same images, image by image: differences, intervals, and a test.

Letters: n images, c classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.metrics.classification import Labels, log_loss, log_losses

Keep = Literal["better", "always"]
"""better: fine-tuned weights are kept when they are better on validation, beyond chance; always: they are kept."""

MAX_P_VALUE = 0.05
"""Largest p with which a difference is called more than chance."""

CONFIDENCE_LEVEL = 0.95
"""Level of both intervals."""

NUM_RESAMPLES, RESAMPLING_SEED = 2000, 0
"""Samples of the bootstrap, and their seed, so that a report always has the same bytes."""

NUM_DIGITS = 6
"""Digits after the point in reports."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Results of two classifiers on the same n images; every difference is after minus before."""

    num_images: int
    """n."""
    accuracy_before: float
    """Top-1 accuracy of the first, in [0, 1]."""
    accuracy_after: float
    """Top-1 accuracy of the second, in [0, 1]."""
    log_loss_before: float
    """Log loss of the first, in nats."""
    log_loss_after: float
    """Log loss of the second, in nats."""
    num_gained: int
    """Images that only the second classifies correctly."""
    num_lost: int
    """Images that only the first classifies correctly."""
    difference: float
    """Difference in accuracy, in [-1, 1]."""
    difference_low: float
    """Lower end of the 95% interval of the difference in accuracy."""
    difference_high: float
    """Upper end of the 95% interval of the difference in accuracy."""
    p_value: float
    """Exact two-sided McNemar test, as `mcnemar` computes it."""
    log_loss_difference: float
    """Difference in log loss, in nats; below 0 when the second is better."""
    log_loss_difference_low: float
    """Lower end of the 95% interval of the difference in log loss; too narrow below some twenty images."""
    log_loss_difference_high: float
    """Upper end of the 95% interval of the difference in log loss."""
    log_loss_p_value: float
    """One-sided paired t-test of a lower log loss, as `paired_t` computes it."""


def compare_paired(y: Labels, before: Logits, after: Logits) -> PairedComparison:
    """Compare two classifiers by their logits (n, c) for the same images, at least one.

    Raises:
        DataError: there is no image, or the numbers of images differ.
    Source:
        Interval in accuracy: Agresti and Min, Simple improved confidence intervals for comparing matched
        proportions, Statistics in Medicine 2005 (Wald's, with half an image added to each of the four cells).
        Interval in log loss: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13
        (percentiles, over images).
    """
    if not len(y) == len(before) == len(after) > 0:
        raise DataError(f"a comparison needs the same images, at least one: {len(y)}, {len(before)}, {len(after)}")
    correct_before, correct_after = before.argmax(axis=1) == y, after.argmax(axis=1) == y
    num_gained, num_lost = int((correct_after & ~correct_before).sum()), int((correct_before & ~correct_after).sum())
    low, high = _paired_interval(num_gained, num_lost, len(y))
    loss_changes = log_losses(after, y) - log_losses(before, y)
    loss_low, loss_high = _bootstrap_interval(loss_changes)
    return PairedComparison(
        num_images=len(y),
        accuracy_before=float(correct_before.mean()),
        accuracy_after=float(correct_after.mean()),
        log_loss_before=log_loss(before, y),
        log_loss_after=log_loss(after, y),
        num_gained=num_gained,
        num_lost=num_lost,
        difference=(num_gained - num_lost) / len(y),
        difference_low=low,
        difference_high=high,
        p_value=mcnemar(num_gained, num_lost),
        log_loss_difference=float(loss_changes.mean()),
        log_loss_difference_low=loss_low,
        log_loss_difference_high=loss_high,
        log_loss_p_value=paired_t(float(loss_changes.mean()), _deviation(loss_changes), len(y)),
    )


def mcnemar(num_gained: int, num_lost: int) -> float:
    """Compute the exact two-sided p-value of the difference between two classifiers on the same images.

    It is the probability that images gained and lost with equal probability are split at least as unevenly.

    Source:
        McNemar, Psychometrika 1947; the exact form is the sign test, a binomial test with probability 1/2.
    """
    n = num_gained + num_lost
    # As scipy.stats.binomtest, which takes half a second to import; whole numbers of any size are exact.
    tail: int = sum(math.comb(n, k) for k in range(min(num_gained, num_lost) + 1))
    return min(1.0, float(2 * tail / 2**n))


def unit_changes(
    correct_before: npt.NDArray[np.bool_], correct_after: npt.NDArray[np.bool_], units: Sequence[str] | Labels
) -> tuple[int, int]:
    """Count the units in which the second classifier gets more images right, and those in which it gets fewer.

    Images of one group are no independent evidence: for the test, a group counts once.

    Args:
        correct_before, correct_after: whether each image is classified correctly, shape (n,).
        units: name or number of each image's group, or of the image alone.
    """
    numbers = np.unique(np.array(units), return_inverse=True)[1]
    net = np.bincount(numbers, weights=correct_after.astype(int) - correct_before.astype(int))
    return int((net > 0).sum()), int((net < 0).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that the chance of any false finding stays below the level asked for.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        corrected[k] = largest
    return corrected


def paired_t(mean: float, deviation: float, num_images: int) -> float:
    """Compute the one-sided p-value of a mean difference below 0, by Student's paired t-test.

    Args:
        mean: mean of the differences, after minus before.
        deviation: standard deviation of the differences; 0 where there is no evidence of their spread.
        num_images: number of differences.
    Returns:
        The p-value; 1 for fewer than two images, or where all differences are equal.
    Source:
        Student, The probable error of a mean, Biometrika 1908.
    """
    if num_images < 2 or deviation == 0:
        return 1.0
    from scipy.special import stdtr  # the distribution of t; scipy.stats takes half a second to import

    return float(stdtr(num_images - 1, mean / (deviation / math.sqrt(num_images))))


def worth_keeping(comparison: PairedComparison, keep: Keep) -> bool:
    """Decide by validation whether fine-tuned weights are kept."""
    counts = comparison.num_gained, comparison.num_lost
    return keep == "always" or is_better(*counts, comparison.log_loss_p_value)


def is_better(num_gained: int, num_lost: int, log_loss_p_value: float) -> bool:
    """Decide whether a classifier is better beyond chance, by images that took no part in its training.

    More images must be right, and the paired t-test must call the log loss lower, which 5% of classifiers pass that are
    no better in truth. Every image takes part in the log loss; McNemar's test sees only the images that change sides,
    which are few in a small validation set.
    """
    return num_gained > num_lost and log_loss_p_value <= MAX_P_VALUE


def comparison_record(comparison: PairedComparison, split: str) -> dict[str, Any]:
    """Flatten a comparison for a report; every key starts with the name of the split, whose size the report has."""
    return {
        f"{split}_{name}": round(value, NUM_DIGITS) if isinstance(value, float) else value
        for name, value in vars(comparison).items()
        if name != "num_images"
    }


def format_comparison(comparison: PairedComparison, split: str) -> str:
    """Describe in one line a comparison of head-only before and fine-tuned after, on a split such as validation."""
    found = comparison
    images = f"{found.num_gained} gained, {found.num_lost} lost of {found.num_images}"
    return f"{split} {found.accuracy_before:.1%} -> {found.accuracy_after:.1%} ({images})"


def format_outcome(comparison: PairedComparison, keep: Keep) -> str:
    """Say in one line whether fine-tuned weights are kept, what they changed on validation, and why if they are not."""
    found, change = comparison, format_comparison(comparison, "validation")
    if worth_keeping(found, "better"):
        return f"kept: {change}"
    if found.num_gained <= found.num_lost:
        reason = "no better"
    elif found.log_loss_after >= found.log_loss_before:
        reason = f"the probabilities are worse (log loss {found.log_loss_before:.2f} -> {found.log_loss_after:.2f})"
    else:
        reason = f"the difference may be chance (p = {found.log_loss_p_value:.2g})"
    if keep == "always":
        return f"kept, as `finetune.keep: always` asks: {change}, {reason}"
    return f"not kept: {change}, {reason}"


def _paired_interval(num_gained: int, num_lost: int, num_images: int) -> tuple[float, float]:
    """Interval of the difference between two shares of the same images."""
    n, b, c = num_images + 2.0, num_gained + 0.5, num_lost + 0.5
    centre, spread = (b - c) / n, math.sqrt(b + c - (b - c) ** 2 / n) / n
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    return max(-1.0, centre - z * spread), min(1.0, centre + z * spread)


def _deviation(values: npt.NDArray[np.float64]) -> float:
    """Standard deviation of a sample, 0 for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Interval of a mean, from the means of samples drawn with replacement."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return float(low), float(high)
