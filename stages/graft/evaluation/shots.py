"""Accuracy over the number of training images: whether more labels would help."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stages.graft.core.progress import bar
from stages.graft.evaluation.linear_probe import MAX_IMAGES, fit_probe
from stages.graft.heads.features import FeatureSet
from stages.graft.metrics.classification import accuracy
from stages.graft.metrics.sampling import draw_rows, stratified_rows

SHOTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
"""Numbers of training images per class to try, besides all."""

NEARLY_ALL = 0.8
"""Share of the largest class above which only all images are tried."""

NUM_DIGITS = 6
"""Of every number written."""


def shots_table(train: FeatureSet, val: FeatureSet, l2: float, num_draws: int, seed: int) -> pd.DataFrame:
    """Fit a logistic head to a few images of each class and score validation; test images are not used.

    One penalty is used for all sizes, that of the complete training split: its effect decreases with more images.

    Args:
        train: drawn from, at most MAX_IMAGES of it.
        val: scored.
        l2: the penalty.
        num_draws: times each number is tried, with other images.
        seed: decides which images are drawn.
    Returns:
        Columns train_per_class (of the largest class, or of its part of a sample, in the last row), num_train (mean),
        accuracy (mean on validation), accuracy_low, accuracy_high (lowest and highest), deviation (standard, over the
        draws), num_draws.
    """
    largest = int(np.bincount(train.y[stratified_rows(train.y, MAX_IMAGES)]).max())
    rows = []
    most = min(NEARLY_ALL * largest, MAX_IMAGES / len(train.classes) / 2)
    for shots in bar(
        [*(shots for shots in SHOTS if shots < most), largest], desc="explore: accuracy over images", unit="sizes"
    ):
        sizes, accuracies = zip(*_draws(train, val, l2, shots, num_draws, seed), strict=True)
        spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
        rows.append((shots, np.mean(sizes), np.mean(accuracies), min(accuracies), max(accuracies), spread, len(sizes)))
    columns = ["accuracy", "accuracy_low", "accuracy_high", "deviation", "num_draws"]
    return pd.DataFrame(rows, columns=["train_per_class", "num_train", *columns]).round(NUM_DIGITS)


def _draws(
    train: FeatureSet, val: FeatureSet, l2: float, shots: int, num_draws: int, seed: int
) -> Iterator[tuple[int, float]]:
    """Number of images and accuracy of each draw; the same images are tried only once."""
    seen: set[bytes] = set()
    for draw in range(num_draws):
        rows = draw_rows(train.y, shots, np.random.default_rng((seed, shots, draw)))
        rows = rows[stratified_rows(train.y[rows], MAX_IMAGES)]
        if rows.tobytes() not in seen:
            seen.add(rows.tobytes())
            probabilities = fit_probe(train.x[rows], train.y[rows], train.classes, l2, val.x)
            yield len(rows), accuracy(probabilities.argmax(axis=1), val.y)
