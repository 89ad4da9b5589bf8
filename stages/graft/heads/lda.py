"""Linear discriminant analysis on limited features: class means, and one covariance within the classes, shrunk.

Nothing is searched for, so it needs few images. Letters: n images, d features, c classes.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from stages.graft.core.threads import one_thread_each
from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.cross_validation import HeldOut, has_folds, score_held_out
from stages.graft.heads.directions import main_directions
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.row_sums import Sums, sum_rows
from stages.graft.heads.sharpness import choose_sharpness
from stages.graft.heads.shrinkage import ledoit_wolf_shrinkage
from stages.graft.heads.standardisation import fit_standardisation

Float64 = npt.NDArray[np.float64]

Seen = Callable[[Float32], Float32]
"""Limits features (n, d), and expresses them in the main directions where these are used."""


def fit_lda(
    train: FeatureSet, val: FeatureSet, weights: ClassWeights, num_folds: int
) -> tuple[Head, dict[str, float], HeldOut]:
    """Fit discriminants to the training images, and turn them into logits.

    Discriminants are too sure of themselves: the covariance is estimated from the images whose means they use. They are
    multiplied by a factor with the lowest log loss on images that they were not fitted to.

    Args:
        train: images to fit; every class has at least one.
        val: images that choose the factor, together with the training images that are left out in turn.
        weights: weight of each class, shape (c,), in the covariance, in the frequencies that the logits assume, and in
            the choice of the factor.
        num_folds: as in `score_held_out`.
    Returns:
        The head; shrinkage and factor, for the report; the images that chose the factor, with their logits.
    Raises:
        DataError: a feature is not finite, or no image is left to choose the factor with.
    """
    head, shrinkage = fit_discriminants(train, weights)
    if has_folds(train, num_folds):
        found = next(score_held_out(partial(_score, weights=weights), train, val, num_folds), _nothing(train))
    else:
        found = HeldOut(logits=head.logits(val.x), y=val.y)
    offsets = log_frequencies(train, weights)
    sharpness = choose_sharpness(found.logits, offsets, found.y, weights)
    weight, bias = head.layers[0]
    layer = ((sharpness * weight).astype(np.float32), (sharpness * bias + offsets).astype(np.float32))
    calibrated = HeldOut(logits=(sharpness * found.logits + offsets).astype(np.float32), y=found.y)
    choices = {"shrinkage": round(shrinkage, 6), "sharpness": round(sharpness, 6)}
    return Head(kind="lda", classes=train.classes, layers=(layer,), softsign=head.softsign), choices, calibrated


def fit_discriminants(train: FeatureSet, weights: ClassWeights) -> tuple[Head, float]:
    """Compute Fisher's linear discriminants of limited features for classes that are equally frequent.

    With few labels and many images without one, of the main directions of all images alone.

    Returns:
        A head whose logits are -1/2 of the squared Mahalanobis distances to the class means, up to a term that is the
        same for every class; and the shrinkage of the covariance.
    Source:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, eq. 4.10.
    """
    with one_thread_each():
        return _fit_discriminants(train, weights)


def _fit_discriminants(train: FeatureSet, weights: ClassWeights) -> tuple[Head, float]:
    softsign = fit_standardisation(train.x).to_softsign()
    directions = main_directions(train, softsign)

    def seen(x: Float32) -> Float32:
        return softsign.apply(x) if directions is None else softsign.apply(x) @ directions

    means = _class_means(train, seen)
    centre = means.mean(axis=0)
    shape = len(train.y), means.shape[1]
    weight, shrinkage = _solve(_residuals(train, seen, means, weights), shape, means - centre)
    bias = -0.5 * (weight * (means + centre)).sum(axis=1)
    if directions is not None:
        weight = weight @ directions.T
    layer = (weight.astype(np.float32), bias.astype(np.float32))
    return Head(kind="lda", classes=train.classes, layers=(layer,), softsign=softsign), shrinkage


def log_frequencies(train: FeatureSet, weights: ClassWeights) -> Float64:
    """Give the logarithm of each weighted class's share of the training images, shape (c,)."""
    counts = weights * np.bincount(train.y, minlength=len(train.classes))
    return np.asarray(np.log(counts / counts.sum()))


def _class_means(train: FeatureSet, seen: Seen) -> Float64:
    """Average the features of each class, as they are seen, shape (c, d)."""
    num_classes = len(train.classes)

    def sums_of(rows: slice) -> Sums:
        x, y = seen(train.x[rows]), train.y[rows]
        sums = np.zeros((num_classes, x.shape[1]))
        for k in np.unique(y):
            sums[k] = x[y == k].sum(axis=0, dtype=np.float64)
        return (sums,)

    (sums,) = sum_rows(sums_of, len(train.y))
    return np.asarray(sums / np.bincount(train.y, minlength=num_classes)[:, None])


def _residuals(train: FeatureSet, seen: Seen, means: Float64, weights: ClassWeights) -> Callable[[slice], Float32]:
    """Give for some rows their features less the mean of their class, times the root of their weight."""
    roots = np.sqrt(weights[train.y] / weights[train.y].mean()).astype(np.float32)

    def residuals_of(rows: slice) -> Float32:
        residuals = seen(train.x[rows]) - means[train.y[rows]].astype(np.float32)
        return np.asarray(residuals * roots[rows, None])

    return residuals_of


def _solve(residuals_of: Callable[[slice], Float32], shape: tuple[int, ...], rows: Float64) -> tuple[Float64, float]:
    """Multiply rows (c, d) by the inverse of the shrunk covariance of residuals (n, d); give the shrinkage as well.

    With fewer images than features, by Woodbury's identity: an inverse of n by n instead of d by d.
    """
    n, d = shape
    few = residuals_of(slice(n)) if n < d else None
    product, lengths = _products(residuals_of, n) if few is None else (few @ few.T, _squared_lengths(few))
    if not lengths.any():  # one image in every class: nothing is known of the spread within a class
        return rows, 1.0
    product = product.astype(np.float64)
    shrinkage = ledoit_wolf_shrinkage(product, lengths, d)
    ridge, factor = shrinkage * lengths.sum() / n / d, (1 - shrinkage) / n
    if few is None:
        return np.linalg.solve(factor * product + ridge * np.eye(d), rows.T).T, shrinkage
    inner = np.linalg.solve(ridge * np.eye(n) + factor * product, few @ rows.T)
    return (rows - factor * inner.T @ few) / ridge, shrinkage


def _products(residuals_of: Callable[[slice], Float32], n: int) -> tuple[Float64, Float64]:
    """Sum the products of every two columns, shape (d, d), and give the squared lengths of the n rows."""
    lengths = np.zeros(n)

    def sums_of(rows: slice) -> Sums:
        part = residuals_of(rows)
        lengths[rows] = _squared_lengths(part)
        return ((part.T @ part).astype(np.float64),)

    (product,) = sum_rows(sums_of, n)
    return product, lengths


def _squared_lengths(x: Float32) -> Float64:
    return np.asarray(np.square(x).sum(axis=1, dtype=np.float64))


def _score(train: FeatureSet, x: Float32, weights: ClassWeights) -> Iterator[Float32]:
    yield fit_discriminants(train, weights)[0].logits(x)


def _nothing(train: FeatureSet) -> HeldOut:
    return HeldOut(logits=np.zeros((0, len(train.classes)), np.float32), y=np.zeros(0, np.int64))
