"""Multinomial logistic regression on standardised features; validation or cross-validation chooses the penalty.

Letters: n images, d features, c classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from stages.graft.core.threads import one_thread_each
from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.cross_validation import HeldOut, score_held_out
from stages.graft.heads.features import FeatureSet, sample
from stages.graft.heads.head import Float32, Head, Softsign
from stages.graft.heads.softmax_regression import COARSE, FINE, SoftmaxRegression
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import log_loss

MAX_STEPS = 200
"""Largest number of steps for one penalty; 5 to 40 are usual."""

MAX_RISES = 2
"""The search ends after this many successive rises of the validation log loss; weaker penalties are slower to fit."""


MAX_IMAGES = 10_000
"""Largest number of training images with which the penalty is chosen; the head is then fitted to all."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The fit with one penalty."""

    l2: float
    """The penalty."""
    head: Head
    """From raw features to logits."""
    converged: bool
    """Whether the fit converged."""


def fit_logistic(
    train: FeatureSet, val: FeatureSet, l2_grid: Sequence[float], weights: ClassWeights, tolerance: float = FINE
) -> tuple[Head, dict[str, float]]:
    """Fit with one penalty after another, strongest first, and keep the fit with the lowest validation log loss.

    Args:
        train: images to fit.
        val: images that choose the penalty.
        l2_grid: penalties to try, as factors of half the sum of squared weights, which is added to the sum of the
            images' log losses; 1 / C in scikit-learn. A tie keeps the stronger one.
        weights: weight of each class, shape (c,).
        tolerance: FINE, or COARSE when the head is not kept.
    Returns:
        The head; for the report, the penalty, the number of penalties tried, and whether the fit converged.
    """
    tried: list[Candidate] = []
    losses: list[float] = []
    for candidate in fit_path(train, l2_grid, weights, tolerance):
        tried.append(candidate)
        losses.append(log_loss(candidate.head.logits(val.x), val.y, weights))
        if _keeps_rising(losses):
            break
    best = tried[losses.index(min(losses))]  # of equal ones, the first
    return best.head, {"l2": best.l2, "num_tried": len(tried), "converged": best.converged}


def choose_penalty(
    train: FeatureSet, val: FeatureSet, l2_grid: Sequence[float], weights: ClassWeights, num_folds: int
) -> tuple[float, HeldOut]:
    """Try one penalty after another, strongest first, for limited features, on images that the fits leave out.

    Of more than MAX_IMAGES training images, a sample with the shares of the classes stands for all.

    Args:
        train, val, l2_grid, weights: as in `fit_logistic`.
        num_folds: as in `score_held_out`.
    Returns:
        The penalty with the lowest log loss, and the images with their logits for it.
    """
    l2s, train = sorted(l2_grid, reverse=True), sample(train, MAX_IMAGES)
    tried: list[HeldOut] = []
    losses: list[float] = []
    for found in score_held_out(partial(_score_path, l2_grid=l2s, weights=weights), train, val, num_folds):
        tried.append(found)
        losses.append(log_loss(found.logits, found.y, weights))
        if _keeps_rising(losses):
            break
    best = losses.index(min(losses))
    return l2s[best], tried[best]


def fit_path(
    train: FeatureSet, l2_grid: Sequence[float], weights: ClassWeights, tolerance: float = FINE
) -> Iterator[Candidate]:
    """Fit with the penalties, strongest first; each fit starts from the solution of the last one."""
    standardisation = fit_standardisation(train.x)
    with one_thread_each():
        x, basis = _reduce(standardisation.apply(train.x))
    num_classes = len(train.classes)
    regression = SoftmaxRegression(
        x=x, y=train.y, of_image=weights[train.y], num_classes=num_classes, tolerance=tolerance
    )
    theta = np.zeros((num_classes, x.shape[1] + 1))
    for l2 in sorted(l2_grid, reverse=True):
        with one_thread_each():
            theta, converged = regression.fit(theta, l2 * _of_both(num_classes), MAX_STEPS)
        weight, bias = theta[:, :-1], theta[:, -1]
        layer = standardisation.fold(weight if basis is None else weight @ basis.T, bias)
        yield Candidate(l2=l2, head=Head(kind="logistic", classes=train.classes, layers=(layer,)), converged=converged)


def _score_path(train: FeatureSet, x: Float32, l2_grid: Sequence[float], weights: ClassWeights) -> Iterator[Float32]:
    softsign = fit_standardisation(train.x).to_softsign()
    for candidate in fit_path(limited(train, softsign), l2_grid, weights, COARSE):
        yield candidate.head.logits(softsign.apply(x))


def limited(images: FeatureSet, softsign: Softsign) -> FeatureSet:
    """Give images with their features limited."""
    return replace(images, x=softsign.apply(images.x), unlabelled=None)


def _keeps_rising(losses: Sequence[float]) -> bool:
    last = losses[-MAX_RISES - 1 :]
    return len(last) > MAX_RISES and all(later > earlier for earlier, later in pairwise(last))


def _reduce(x: Float32) -> tuple[Float32, Float32 | None]:
    """Express features in a basis of the training rows, whose span has the solution: n weights per class instead of d.

    Source: Hastie and Tibshirani, Efficient quadratic regularization for expression arrays, Biostatistics 2004.
    """
    if 2 * len(x) > x.shape[1]:
        return x, None
    basis, triangle = np.linalg.qr(x.T)  # (d, n), (n, n)
    return np.ascontiguousarray(triangle.T), basis


def _of_both(num_classes: int) -> int:
    """Two classes have opposite weights: the penalty is that of their difference, as it is usual."""
    return 2 if num_classes == 2 else 1
