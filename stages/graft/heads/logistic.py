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
from stages.graft.heads.features import MAX_SINGLE_THREAD, FeatureSet
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import Labels, log_loss

SOLVER = "newton-cg"
"""With weak penalties it is 2 to 3 times as fast as L-BFGS and ends nearer to the optimum, after 10 steps, not 300."""

MAX_ITERATIONS = 200
"""Largest number of Newton steps for one penalty; 5 to 15 are usual."""

MAX_RISES = 2
"""The search ends after this many successive rises of the validation log loss; weaker penalties are slower to fit."""


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
    """Fit with one penalty after another, strongest first, and keep the fit with the lowest validation log loss.

    Args:
        train: images to fit.
        val: images that choose the penalty.
        l2_grid: penalties to try, as factors of half the sum of squared weights, which is added to the sum of the
            images' log losses; 1 / C in scikit-learn. A tie keeps the stronger one.
        weights: weight of each class, shape (c,).
    Returns:
        The head; for the report, the penalty, the number of penalties tried, and whether the fit converged.
    """
    standardisation = fit_standardisation(train.x)
    with threadpool_limits(1 if train.x.size < MAX_SINGLE_THREAD else None):
        x, val_x, basis = _reduce(standardisation.apply(train.x), standardisation.apply(val.x))
        tried = _fit_path(x, train.y, val_x, val.y, l2_grid, weights)
        best = min(tried, key=lambda candidate: candidate.val_loss)  # of equal ones, the first
        layer = standardisation.fold(best.weight if basis is None else best.weight @ basis.T, best.bias)
    head = Head(kind="logistic", classes=train.classes, layers=(layer,))
    return head, {"l2": best.l2, "num_tried": len(tried), "converged": best.converged}


def _reduce(x: Float32, val_x: Float32) -> tuple[Float32, Float32, Float32 | None]:
    """Express features in a basis of the training rows, whose span has the solution: n weights per class instead of d.

    Source: Hastie and Tibshirani, Efficient quadratic regularization for expression arrays, Biostatistics 2004.
    """
    if 2 * len(x) > x.shape[1]:
        return x, val_x, None
    basis, triangle = np.linalg.qr(x.T)  # (d, n), (n, n)
    return np.ascontiguousarray(triangle.T), val_x @ basis, basis


def _fit_path(
    x: Float32, y: Labels, val_x: Float32, val_y: Labels, l2_grid: Sequence[float], weights: ClassWeights
) -> list[_Candidate]:
    """Fit with the penalties, strongest first; each fit starts from the solution of the last one."""
    model = LogisticRegression(
        solver=SOLVER, warm_start=True, max_iter=MAX_ITERATIONS, class_weight=dict(enumerate(weights.tolist()))
    )
    tried: list[_Candidate] = []
    for l2 in sorted(l2_grid, reverse=True):
        converged = _fit(model.set_params(C=1 / l2), x, y)
        weight, bias = _layer(model)
        loss = log_loss(val_x @ weight.T + bias, val_y, weights)
        tried.append(_Candidate(l2=l2, weight=weight, bias=bias, val_loss=loss, converged=converged))
        last_losses = [candidate.val_loss for candidate in tried[-MAX_RISES - 1 :]]
        if len(tried) > MAX_RISES and all(later > earlier for earlier, later in pairwise(last_losses)):
            break
    return tried


def _fit(model: LogisticRegression, x: Float32, y: Labels) -> bool:
    """Fit in place, and report whether the fit converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # scipy's line search warns too
        model.fit(x, y)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _layer(model: LogisticRegression) -> tuple[Float32, Float32]:
    """Get weight (c, d) and bias (c,); for two classes scikit-learn stores only their difference."""
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)
