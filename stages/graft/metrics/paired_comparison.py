"""Whether fine-tuning was worth it: two classifiers on the same images, compared image by image.

Letters: n images, c classes.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.metrics.classification import Labels, log_loss

Keep = Literal["better", "always"]
"""better: fine-tuned weights are kept when validation says so; always: in any case."""

CONFIDENCE_LEVEL = 0.95
"""Of both intervals."""

NUM_RESAMPLES, RESAMPLING_SEED = 2000, 0
"""Of the bootstrap; seeded, so that a report's bytes can be had again."""

NUM_DIGITS = 6
"""Of every number written, as in the other reports."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Before and after, on the same n images; every difference is after minus before."""

    num_images: int
    """n."""
    accuracy_before: float
    """Top-1, [0, 1]."""
    accuracy_after: float
    """Top-1, [0, 1]."""
    log_loss_before: float
    """In nats."""
    log_loss_after: float
    """In nats."""
    num_gained: int
    """Images that only the second has right."""
    num_lost: int
    """Images that only the first has right."""
    difference: float
    """In accuracy, [-1, 1]."""
    difference_low: float
    """Lower end of the 95% interval of the difference in accuracy."""
    difference_high: float
    """Its upper end."""
    p_value: float
    """Exact two-sided McNemar test: how likely chance alone splits the changed images at least as unevenly."""
    log_loss_difference: float
    """In nats; below 0 when the second is better."""
    log_loss_difference_low: float
    """Lower end of the 95% interval of the difference in log loss; too narrow below some twenty images."""
    log_loss_difference_high: float
    """Its upper end."""


@dataclass(frozen=True, kw_only=True)
class KeepDecision:
    """What becomes of the fine-tuned weights."""

    kept: bool
    """Whether they are the model; if not, the head on the frozen network is."""
    reason: str
    """In words, to stand after `kept` or `not kept`."""


def compare_paired(y: Labels, before: Logits, after: Logits) -> PairedComparison:
    """Compare two classifiers on the same images.

    Args:
        y: true classes, shape (n,), n at least 1.
        before: logits of the first, shape (n, c).
        after: logits of the second, shape (n, c).
    Raises:
        DataError: no image, or not as many logits as images.
    Source:
        the interval in accuracy: Agresti and Min, Simple improved confidence intervals for comparing matched
        proportions, Statistics in Medicine 2005 (Wald's, with half an image added to each of the four cells);
        the interval in log loss: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13
        (percentiles, over images).
    """
    if not len(y) == len(before) == len(after) > 0:
        raise DataError(f"a comparison needs the same images, at least one: {len(y)}, {len(before)}, {len(after)}")
    right_before, right_after = before.argmax(axis=1) == y, after.argmax(axis=1) == y
    gained, lost = int((right_after & ~right_before).sum()), int((right_before & ~right_after).sum())
    low, high = _paired_interval(gained, lost, len(y))
    changes = _losses(after, y) - _losses(before, y)
    loss_low, loss_high = _bootstrap_interval(changes)
    return PairedComparison(
        num_images=len(y),
        accuracy_before=float(right_before.mean()),
        accuracy_after=float(right_after.mean()),
        log_loss_before=log_loss(before, y),
        log_loss_after=log_loss(after, y),
        num_gained=gained,
        num_lost=lost,
        difference=(gained - lost) / len(y),
        difference_low=low,
        difference_high=high,
        p_value=mcnemar(gained, lost),
        log_loss_difference=float(changes.mean()),
        log_loss_difference_low=loss_low,
        log_loss_difference_high=loss_high,
    )


def mcnemar(num_gained: int, num_lost: int) -> float:
    """Give the exact two-sided p-value: of images that changed sides, each side is as likely, by chance alone.

    Source:
        McNemar, Psychometrika 1947; the exact form is the sign test, a binomial tail of probability 1/2, twice.
    """
    num_changed = num_gained + num_lost
    ways = term = 1
    for taken in range(min(num_gained, num_lost)):
        term = term * (num_changed - taken) // (taken + 1)  # the next binomial coefficient; whole numbers, no rounding
        ways += term
    return min(1.0, 2 * ways / (1 << num_changed))


def worth_keeping(comparison: PairedComparison, keep: Keep) -> bool:
    """Decide on validation: a lower log loss, and an accuracy no lower; a tie keeps the simpler model."""
    better = comparison.log_loss_after < comparison.log_loss_before and comparison.num_gained >= comparison.num_lost
    return keep == "always" or better


def decide(comparison: PairedComparison, keep: Keep) -> KeepDecision:
    """Decide as `worth_keeping` does, and say why.

    Args:
        comparison: on validation.
        keep: `finetune.keep`.
    """
    lower_loss = comparison.log_loss_after < comparison.log_loss_before
    loss = f"log loss {comparison.log_loss_after:.4f} against {comparison.log_loss_before:.4f}"
    accuracy = f"accuracy {'lower' if comparison.num_gained < comparison.num_lost else 'no lower'}"
    reason = f"validation {loss}, {accuracy}" if lower_loss else f"validation {loss} is no gain"
    if keep == "always":
        reason += "; `finetune.keep` is always"
    return KeepDecision(kept=worth_keeping(comparison, keep), reason=reason)


def comparison_record(comparison: PairedComparison, split: str) -> dict[str, Any]:
    """Flatten a comparison for a report, its keys after the split's name."""
    values = {
        name: value for name, value in vars(comparison).items() if name != "num_images"
    }  # the split's report has it
    return {
        f"{split}_{name}": round(value, NUM_DIGITS) if isinstance(value, float) else value
        for name, value in values.items()
    }


def format_comparison(comparison: PairedComparison, split: str) -> str:
    """Say in a line what changed.

    Args:
        comparison: head-only before, fine-tuned after.
        split: whose images, such as validation.
    """
    one = comparison
    return (
        f"fine-tuned {one.accuracy_after:.1%} against head-only {one.accuracy_before:.1%} on {one.num_images} {split} "
        f"images: {100 * one.difference:+.1f} points (95% interval {100 * one.difference_low:+.1f} to "
        f"{100 * one.difference_high:+.1f}, McNemar p = {one.p_value:.2g}), log loss {one.log_loss_after:.3f} against "
        f"{one.log_loss_before:.3f}"
    )


def _paired_interval(gained: int, lost: int, num_images: int) -> tuple[float, float]:
    """The interval of the difference between two shares of the same images."""
    n, b, c = num_images + 2.0, gained + 0.5, lost + 0.5
    centre, spread = (b - c) / n, math.sqrt(b + c - (b - c) ** 2 / n) / n
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    return max(-1.0, centre - z * spread), min(1.0, centre + z * spread)


def _losses(logits: Logits, y: Labels) -> npt.NDArray[np.float64]:
    """Each image's own log loss, shape (n,)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y])


def _bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The interval of a mean, from the means of samples drawn with replacement."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return float(low), float(high)
