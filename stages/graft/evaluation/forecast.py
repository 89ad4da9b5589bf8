"""The accuracy to expect with more labels, from accuracies with fewer: several families of curves, and their spread.

Letters: k sizes, n images, b resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

NUM_RESAMPLES = 200
"""Resamples of the images, for the chance in the accuracies."""

LOW, HIGH = 0.025, 0.975
"""Quantiles that the interval goes between."""

EXPONENTS = np.geomspace(0.1, 2.0, 20)
"""Of power laws, to try."""

RATES = np.geomspace(0.3, 10.0, 20)
"""Of exponential curves, to try, per largest size."""

MAX_FACTOR = 30.0
"""As many times the labels are looked at when the number for a target is asked for."""

CERTAIN_UP_TO = 0.97
"""Above this accuracy a curve is so flat that the number of labels for a target cannot be told."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number that is not known exactly."""

    low: float
    """Lower end."""
    middle: float
    """Median of all curves."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves of all families, fitted to all resamples; each passes through its last accuracy."""

    last: Float
    """Accuracy at the largest size, of each curve, shape (c,)."""
    largest: float
    """The largest size, in labels."""
    error_at: tuple[Callable[[float], Float], ...]
    """From a number of labels, as a share of the largest size, to the errors of each family's curves, shape (b,)."""

    def accuracy_at(self, size: float) -> Float:
        """Give the accuracy of every curve with a number of labels, shape (c,)."""
        share = size / self.largest
        gains: Float = np.concatenate([error(1.0) - error(share) for error in self.error_at])
        return np.asarray(np.clip(self.last + gains, 0, 1), dtype=np.float64)


def fit_curves(sizes: Float, correct: Float, seed: int) -> Curves:
    """Fit every family to every resample of the images.

    Args:
        sizes: numbers of labels, ascending, shape (k,), at least 2 of them.
        correct: share of the draws of each size in which each image was classified right, shape (k, n).
        seed: of the resamples.
    Source:
        Viering and Loog, The shape of learning curves: a review, IEEE TPAMI 2022, section 3 (families); Mahmood et al.,
        How much more data do I need?, CVPR 2022 (one family misleads, several bound the truth).
    """
    num_images = correct.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(num_images, np.full(num_images, 1 / num_images), NUM_RESAMPLES)
    unseen = rng.gamma(0.5, size=(NUM_RESAMPLES, 1))  # errors: images without one do not show that there is none
    errors = (weights @ (1 - correct).T + unseen) / (num_images + unseen)  # (b, k)
    families = (_logit_line, _power_law, _power_law_with_floor, _exponential_with_floor)
    last = np.tile(1 - errors[:, -1], len(families))
    fitted = tuple(family(sizes / sizes[-1], errors) for family in families)
    return Curves(last=last, largest=float(sizes[-1]), error_at=fitted)


def expect_accuracy(curves: Curves, size: float) -> Interval:
    """Give the accuracy to expect with a number of labels."""
    return _interval(curves.accuracy_at(size))


def expect_gain(curves: Curves, now: float, size: float) -> Interval:
    """Give how much the accuracy rises between two numbers of labels; the chance in its level plays no part."""
    return _interval(curves.accuracy_at(size) - curves.accuracy_at(now))


def expect_labels(curves: Curves, now: float, target: float) -> Interval | None:
    """Give the number of labels at which a target is reached; None when it cannot be told.

    Args:
        curves: fitted.
        now: labels there are.
        target: accuracy.
    Returns:
        The upper end is infinite where some curves never reach it.
    """
    if target > CERTAIN_UP_TO:
        return None
    sizes = now * np.geomspace(1, MAX_FACTOR, 80)
    reached = np.stack([curves.accuracy_at(float(size)) >= target for size in sizes])  # (s, c)
    numbers = np.sort(np.where(reached.any(axis=0), sizes[reached.argmax(axis=0)], np.inf))
    low, middle, high = (float(numbers[int(share * (len(numbers) - 1))]) for share in (LOW, 0.5, HIGH))
    return Interval(low=low, middle=middle, high=high) if middle < MAX_FACTOR * now else None


def _interval(values: Float) -> Interval:
    low, middle, high = np.quantile(values, (LOW, 0.5, HIGH)).tolist()
    return Interval(low=low, middle=middle, high=high)


Family = Callable[[float], Float]


def _lines(x: Float, y: Float) -> tuple[Float, Float]:
    """Fit lines through points, shapes (k,) and (b, k), weighted by place: the last, with most labels, tell most."""
    w = np.arange(1, len(x) + 1) / len(x)
    w = w / w.sum()
    mean_x, mean_y = (w * x).sum(), (w * y).sum(axis=1)
    slope = (w * (x - mean_x) * (y - mean_y[:, None])).sum(axis=1) / (w * (x - mean_x) ** 2).sum()
    return mean_y - slope * mean_x, slope


def _logit_line(shares: Float, errors: Float) -> Family:
    """Fit a line of the log odds of an error over the logarithm of the number of labels."""
    at, slope = _lines(np.log(shares), np.log(errors / np.maximum(1 - errors, 1e-9)))
    slope = np.minimum(slope, 0)
    return lambda share: np.asarray(1 / (1 + np.exp(-(at + slope * np.log(share)))))


def _power_law(shares: Float, errors: Float) -> Family:
    at, slope = _lines(np.log(shares), np.log(errors))
    slope = np.minimum(slope, 0)
    return lambda share: np.asarray(np.exp(at + slope * np.log(share)))


def _power_law_with_floor(shares: Float, errors: Float) -> Family:
    return _with_floor(errors, EXPONENTS, lambda exponent, share: np.asarray(share**-exponent), shares)


def _exponential_with_floor(shares: Float, errors: Float) -> Family:
    return _with_floor(errors, RATES, lambda rate, share: np.asarray(np.exp(-rate * share)), shares)


def _with_floor(errors: Float, tried: Float, base: Callable[[Float, Float], Float], shares: Float) -> Family:
    """Fit floor + factor * base(parameter, share), both at least 0, with the parameter of the least squares."""
    floors, factors, losses = [], [], []
    w = np.arange(1, len(shares) + 1) / len(shares)
    for parameter in tried:
        x = base(np.asarray(parameter), shares)
        floor, factor = _lines(x, errors)
        through_0 = (w * x * errors).sum(axis=1) / (w * x**2).sum()
        flat = (w * errors).sum(axis=1) / w.sum()
        factor = np.where(floor < 0, through_0, np.maximum(factor, 0))
        floor = np.where(floor < 0, 0, np.where(factor > 0, floor, flat))
        floors.append(floor)
        factors.append(factor)
        losses.append((w * (errors - floor[:, None] - factor[:, None] * x) ** 2).sum(axis=1))
    best = np.argmin(losses, axis=0)
    rows = np.arange(len(best))
    floor, factor, chosen = np.array(floors)[best, rows], np.array(factors)[best, rows], tried[best]
    return lambda share: np.asarray(floor + factor * base(chosen, np.full(len(chosen), share)))
