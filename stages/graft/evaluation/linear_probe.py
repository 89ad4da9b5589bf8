"""A logistic head, fitted to part of the images to learn about the images; it is not kept.

Letters: n images, d features, c classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.graft.core.progress import bar
from stages.graft.heads.features import FeatureSet, sample, select_rows
from stages.graft.heads.head import Float32
from stages.graft.heads.logistic import fit_logistic
from stages.graft.heads.softmax_regression import COARSE
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import Labels, softmax
from stages.graft.metrics.sampling import deal_folds, stratified_rows

L2_GRID = (10000.0, 1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
"""Penalties to try. They are constant: results about the images must not change with the head in use."""

MAX_IMAGES = 5000
"""Largest number of images that a head is fitted to; more images change the results little and take long."""

Probabilities = npt.NDArray[np.float64]


def choose_penalty(train: FeatureSet, val: FeatureSet) -> float:
    """Let validation choose the penalty."""
    return fit_logistic(sample(train, MAX_IMAGES), val, L2_GRID, np.ones(len(train.classes)), COARSE)[1]["l2"]


def fit_probe(x: Float32, y: Labels, classes: tuple[str, ...], l2: float, new_x: Float32) -> Probabilities:
    """Fit a head with one penalty, and score other images.

    Args:
        x: features to fit to, shape (n, d).
        y: their classes, shape (n,); a class without an image gets the probability 0.
        classes: all class names, c of them.
        l2: the penalty.
        new_x: features to score, shape (m, d).
    Returns:
        probabilities, shape (m, c).
    """
    probabilities = np.zeros((len(new_x), len(classes)))
    present = np.unique(y)
    if len(present) == 1:
        probabilities[:, present] = 1
        return probabilities
    names = tuple(classes[k] for k in present)
    train = FeatureSet(ids=(), x=x, y=np.searchsorted(present, y), classes=names)
    val = select_rows(train, np.arange(1))  # never used: with one penalty there is nothing to choose
    head, _ = fit_logistic(train, val, [l2], np.ones(len(present)), COARSE)
    probabilities[:, present] = softmax(head.logits(new_x))
    return probabilities


def cross_validate(
    images: FeatureSet,
    groups: Sequence[str],
    l2: float,
    num_folds: int,
    usable: npt.NDArray[np.bool_] | None = None,
) -> Probabilities:
    """Score every image by a head that was fitted to at most MAX_IMAGES limited features, without it and its group.

    Args:
        images: all of them, n.
        groups: name of each one's group; "" for none.
        l2: the penalty.
        num_folds: heads to fit, at least 2.
        usable: images that heads are fitted to, shape (n,); None: all.
    Returns:
        probabilities, shape (n, c).
    """
    folds, softsign = deal_folds(images.y, groups, num_folds), fit_standardisation(images.x).to_softsign()
    probabilities = np.zeros((len(images.y), len(images.classes)))
    for fold in bar(range(num_folds), desc="explore: check labels", unit="folds"):
        out = folds == fold
        fitted = np.flatnonzero(~out if usable is None else ~out & usable)
        if out.any() and len(fitted):
            rows = fitted[stratified_rows(images.y[fitted], MAX_IMAGES)]
            x, new_x = softsign.apply(images.x[rows]), softsign.apply(images.x[out])
            probabilities[out] = fit_probe(x, images.y[rows], images.classes, l2, new_x)
    return probabilities
