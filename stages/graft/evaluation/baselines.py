"""Baselines that any model must beat: the most frequent class, grey pixels without a network, the nearest neighbours.

Letters: n images, d features, c classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads, one_thread_each
from stages.graft.data.splits import BASELINES
from stages.graft.evaluation.linear_probe import L2_GRID, MAX_IMAGES, Probabilities
from stages.graft.heads.features import FeatureSet, sample
from stages.graft.heads.head import Float32
from stages.graft.heads.logistic import fit_logistic
from stages.graft.heads.softmax_regression import COARSE
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.images.loading import LocateImage, read_image
from stages.graft.images.location import num_readers
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.classification import Labels, softmax
from stages.graft.storage.arrays import row_blocks

PIXELS_PX = 32
"""Side of the grey squares, in pixels."""

NUM_NEIGHBOURS = 5
"""Number of training images that vote."""

BLOCK = 512
"""Number of images whose distances to all training images are in memory at the same time."""


def predict_majority(y: Labels, num_classes: int, num_images: int) -> Probabilities:
    """Predict the share of each class in training for every image, shape (num_images, num_classes)."""
    return np.tile(np.bincount(y, minlength=num_classes) / len(y), (num_images, 1))


def predict_neighbours(train: FeatureSet, x: Float32) -> Probabilities:
    """Let the nearest training images vote, by distances between standardised features.

    Args:
        train: features, of at most MAX_IMAGES images.
        x: features to score, shape (n, d).
    Returns:
        Shares of the votes, shape (n, c); the nearest image's class breaks a tie.
    """
    standardisation = fit_standardisation(train.x)
    known, y = standardisation.apply(train.x), np.eye(len(train.classes))[train.y]
    num_neighbours = min(NUM_NEIGHBOURS, len(known))
    lengths = np.square(known).sum(axis=1)
    weights = 1 + 1e-6 * np.arange(num_neighbours)[::-1]  # breaks ties, moves no majority

    def votes_of(rows: slice) -> Probabilities:
        nearest = _lowest(lengths - 2 * standardisation.apply(x[rows]) @ known.T, num_neighbours)
        return np.asarray((y[nearest] * weights[:, None]).sum(axis=1) / weights.sum())

    with one_thread_each():
        return np.concatenate(list(in_threads(votes_of, row_blocks(len(x), BLOCK))))


def _lowest(values: Float32, number: int) -> Labels:
    """Give the columns of each row's lowest values, (n, m), in order; of equal ones, the first."""
    limits = np.partition(values, number - 1, axis=1)[:, number - 1]
    lowest = []
    for row, limit in zip(values, limits, strict=True):
        near = np.flatnonzero(row <= limit)
        lowest.append(near[np.argsort(row[near], kind="stable")[:number]])
    return np.stack(lowest)


def predict_pixels(train: FeatureSet, val: FeatureSet, x: Float32) -> Probabilities:
    """Fit a logistic head to grey pixels instead of features, score x by it; validation chooses the penalty."""
    head, _ = fit_logistic(train, val, L2_GRID, np.ones(len(train.classes)), COARSE)
    return softmax(head.logits(x))


def read_pixels(ids: Sequence[str], locate: LocateImage, white_level: float | None = None) -> Float32:
    """Read images as small grey squares, the whole image squeezed, shape (n, PIXELS_PX ** 2), from 0 to 255.

    `white_level` is as in `decode`.
    """
    square = Preprocessing(
        resize_px=PIXELS_PX, crop_px=PIXELS_PX, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1), fit="squash",
        white_level=white_level,
    )  # fmt: skip

    def read(id_: str) -> Float32:
        rgb = read_image(locate(id_), square).reshape(-1, 3).astype(np.float32)
        return rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)

    pixels = in_threads(read, ids, num_readers([locate(id_) for id_ in ids[:1]]))
    return np.stack(list(bar(pixels, desc="explore: read pixels", unit="images", total=len(ids))))


def predict_baselines(
    train: FeatureSet,
    val: FeatureSet,
    test: FeatureSet,
    locate: LocateImage,
    ids: "pd.Series[str]",
    white_level: float | None = None,
) -> dict[str, "pd.Series[str]"]:
    """Let every baseline classify the test images, without scoring them; fitted to train, chosen on val.

    Args:
        train, val, test: features.
        locate: gives the location of an image.
        ids: of all images in the table that the predictions are for.
        white_level: as in `decode`.
    Returns:
        For each of BASELINES the predicted class of every image of `ids`; empty for those that are not in test.
    """
    train, val = (sample(images, MAX_IMAGES) for images in (train, val))
    pixels = read_pixels([*train.ids, *val.ids, *test.ids], locate, white_level)
    of_train, of_val, of_test = np.split(pixels, [len(train.y), len(train.y) + len(val.y)])
    probabilities = (
        predict_majority(train.y, len(train.classes), len(test.y)),
        predict_pixels(replace(train, x=of_train), replace(val, x=of_val), of_test),
        predict_neighbours(train, test.x),
    )
    names = np.array(test.classes, dtype=object)
    tested = [pd.Series(names[p.argmax(axis=1)], index=list(test.ids)) for p in probabilities]
    return {name: column.reindex(ids, fill_value="") for name, column in zip(BASELINES, tested, strict=True)}
