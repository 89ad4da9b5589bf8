"""A logistic head, fitted to part of the images to learn about the images; it is not kept.

Letters: n images, d features, c classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.graft.core.progress import bar
from stages.graft.heads.features import FeatureSet, groups_of, select_rows
from stages.graft.heads.head import Float32
from stages.graft.heads.logistic import fit_logistic
from stages.graft.metrics.classification import Labels, softmax
from stages.graft.metrics.sampling import deal_folds, stratified_rows

L2_GRID = (10000.0, 1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
"""Penalties to try. They are constant: results about the images must not change with the head in use."""

MAX_IMAGES = 10_000
"""Largest number of images that a head is fitted to; more images change the results little and take long."""

Probabilities = npt.NDArray[np.float64]


def choose_penalty(train: FeatureSet, val: FeatureSet) -> float:
    """Let validation choose the penalty."""
    rows = stratified_rows(train.y, MAX_IMAGES)
    return fit_logistic(select_rows(train, rows), val, L2_GRID, np.ones(len(train.classes)))[1]["l2"]


def fit_probe(x: Float32, y: Labels, classes: tuple[str, ...], l2: float, new_x: Float32) -> Probabilities:
    """Fit a head with one penalty, to at most MAX_IMAGES, and score other images.

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
    rows = stratified_rows(y, MAX_IMAGES)
    names = tuple(classes[k] for k in present)
    train = FeatureSet(ids=(), x=x[rows], y=np.searchsorted(present, y[rows]), classes=names)
    val = select_rows(train, np.arange(1))  # never used: with one penalty there is nothing to choose
    head, _ = fit_logistic(train, val, [l2], np.ones(len(present)))
    probabilities[:, present] = softmax(head.logits(new_x))
    return probabilities


def cross_validate(
    images: FeatureSet,
    groups: Sequence[str],
    l2: float,
    num_folds: int,
    usable: npt.NDArray[np.bool_] | None = None,
) -> Probabilities:
    """Score every image by a head that was fitted without it and its group.

    Args:
        images: all of them, n.
        groups: name of each one's group; "" for none.
        l2: the penalty.
        num_folds: heads to fit, at least 2.
        usable: images that heads are fitted to, shape (n,); None: all.
    Returns:
        probabilities, shape (n, c).
    """
    folds = deal_folds(images.y, groups, num_folds)
    probabilities = np.zeros((len(images.y), len(images.classes)))
    for fold in bar(range(num_folds), desc="explore: check labels", unit="folds"):
        out = folds == fold
        fitted = ~out if usable is None else ~out & usable
        if out.any() and fitted.any():
            x, y = images.x[fitted], images.y[fitted]
            probabilities[out] = fit_probe(x, y, images.classes, l2, images.x[out])
    return probabilities


def concatenate_sets(*sets: FeatureSet) -> FeatureSet:
    """Put sets of images together, in order of id."""
    ids = np.array([id_ for images in sets for id_ in images.ids])
    order = np.argsort(ids)
    groups = np.array([group for images in sets for group in groups_of(images)], dtype=object)
    return FeatureSet(
        ids=tuple(ids[order].tolist()),
        x=np.concatenate([images.x for images in sets])[order],
        y=np.concatenate([images.y for images in sets])[order],
        classes=sets[0].classes,
        groups=tuple(groups[order]),
    )
