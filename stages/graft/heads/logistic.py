"""Multinomial logistic regression on standardised features; validation chooses the penalty.

Letters: n images, d features, c classes.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import Labels, log_loss

SOLVER = "newton-cg"
"""For weak penalties 2 to 3 times as fast as L-BFGS, and nearer to the optimum: 10 steps where that takes 300."""

MAX_ITERATIONS = 200
"""Newton steps for one penalty; 5 to 15 are usual."""

MAX_RISES = 2
"""Steps to a weaker penalty, each to a higher validation log loss, after which the weakest, slowest are left out."""


MANY = 2**23
"""Numbers in the features, above which several threads are worth it. Below, they wait for each other more than they
compute, on a busy machine 30 times as long; and one thread gives the same bits whatever the number of cores."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """The fit with one penalty."""

    l2: float
    weight: Float32
    bias: Float32
    val_loss: float
    converged: bool


def fit_logistic(
    train: FeatureSet, val: FeatureSet, l2_grid: Sequence[float], weights: ClassWeights
) -> tuple[Head, dict[str, float]]:
    """Fit with one penalty after another, from the strongest, and keep the lowest validation log loss.

    Args:
        train: what the head is fitted on.
        val: what chooses the penalty.
        l2_grid: penalties to try: half the squared weights times it, beside the sum of the images' log losses; 1 / C in
            scikit-learn's words. A tie keeps the stronger.
        weights: of each class, shape (c,).
    Returns:
        The head, and for the report: the penalty, how many were tried, and whether the fit converged.
    """
    standardisation = fit_standardisation(train.x)
    with threadpool_limits(1 if train.x.size < MANY else None):
        x, val_x, basis = _reduce(standardisation.apply(train.x), standardisation.apply(val.x))
        tried = _fit_path(x, train.y, val_x, val.y, l2_grid, weights)
        best = min(tried, key=lambda one: one.val_loss)  # the first of equals
        layer = standardisation.fold(best.weight if basis is None else best.weight @ basis.T, best.bias)
    head = Head(kind="logistic", classes=train.classes, layers=(layer,))
    return head, {"l2": best.l2, "num_tried": len(tried), "converged": best.converged}


def _reduce(x: Float32, val_x: Float32) -> tuple[Float32, Float32, Float32 | None]:
    """Turn to coordinates in the span of the n training rows, where the solution lies: n weights a class, not d.

    Source: Hastie and Tibshirani, Efficient quadratic regularization for expression arrays, Biostatistics 2004.
    """
    if 2 * len(x) > x.shape[1]:
        return x, val_x, None
    basis, triangle = np.linalg.qr(x.T)  # (d, n), (n, n)
    return np.ascontiguousarray(triangle.T), val_x @ basis, basis


def _fit_path(
    x: Float32, y: Labels, val_x: Float32, val_y: Labels, l2_grid: Sequence[float], weights: ClassWeights
) -> list[_Candidate]:
    """Fit from the strongest penalty on, each from where the last one ended."""
    model = LogisticRegression(
        solver=SOLVER, warm_start=True, max_iter=MAX_ITERATIONS, class_weight=dict(enumerate(weights.tolist()))
    )
    tried: list[_Candidate] = []
    for l2 in sorted(l2_grid, reverse=True):
        converged = _fit(model.set_params(C=1 / l2), x, y)
        weight, bias = _layer(model)
        loss = log_loss(val_x @ weight.T + bias, val_y, weights)
        tried.append(_Candidate(l2=l2, weight=weight, bias=bias, val_loss=loss, converged=converged))
        if _only_rises([one.val_loss for one in tried]):
            break
    return tried


def _fit(model: LogisticRegression, x: Float32, y: Labels) -> bool:
    """Fit in place; tell whether it converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # also what scipy's line search says when it gives up
        model.fit(x, y)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _layer(model: LogisticRegression) -> tuple[Float32, Float32]:
    """Give weight (c, d) and bias (c,); of two classes scikit-learn keeps only the difference."""
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)


def _only_rises(losses: list[float]) -> bool:
    last = losses[-MAX_RISES - 1 :]
    return len(last) > MAX_RISES and all(later > earlier for earlier, later in pairwise(last))
