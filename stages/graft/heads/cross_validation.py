"""Training and validation images scored by heads that were fitted without them, to choose between heads.

Letters: n images, d features, c classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from stages.graft.heads.features import FeatureSet, groups_of, select_rows
from stages.graft.heads.head import Float32
from stages.graft.metrics.classification import Labels
from stages.graft.metrics.sampling import deal_folds

MAX_TRAIN = 2000
"""Largest number of training images for which heads are fitted to parts of them. With more, the validation images, some
hundreds, are enough to choose with, and fits take minutes."""

ALWAYS_FITTED = -1
"""Fold of a training image that no fit leaves out."""

ScoreCandidates = Callable[[FeatureSet, Float32], Iterator[Float32]]
"""Fits candidate after candidate to images, and gives each one's logits (n, c) of other images (n, d)."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Images scored by heads that were fitted without them and without their groups."""

    logits: Float32
    """Shape (n, c)."""
    y: Labels
    """Class indices, shape (n,)."""
    ids: tuple[str, ...] = ()
    """SHA-256 of each image's bytes, hex, n of them; empty when the images have none."""


def score_held_out(score: ScoreCandidates, train: FeatureSet, val: FeatureSet, num_folds: int) -> Iterator[HeldOut]:
    """Score training and validation images, fold by fold, by heads fitted to the training images of the other folds.

    So the heads see nearly as many images as the one that is kept, and the validation images add evidence.

    Args:
        score: gives the candidates.
        train: images to fit; with more than MAX_TRAIN, only validation images are scored.
        val: images that are only scored.
        num_folds: number of folds, 0 or at least 2; 0 scores the validation images alone.
    Returns:
        Results of each candidate, for the same images in the same order.
    """
    folds, val_folds = assign_folds(train, val, num_folds)
    parts, labels, ids = [], [], list[str]()
    for fold in np.setdiff1d(np.concatenate([folds, val_folds]), [ALWAYS_FITTED]):
        held, val_held = folds == fold, val_folds == fold
        rest = select_rows(train, np.flatnonzero(~held)) if held.any() else train
        scored = [select_rows(images, np.flatnonzero(rows)) for images, rows in ((train, held), (val, val_held))]
        parts.append(score(rest, np.concatenate([images.x for images in scored])))
        labels += [images.y for images in scored]
        ids += [id_ for images in scored for id_ in images.ids]
    for logits in zip(*parts, strict=True):
        yield HeldOut(logits=np.concatenate(logits), y=np.concatenate(labels), ids=tuple(ids))


def has_folds(train: FeatureSet, num_folds: int) -> bool:
    """Tell whether heads are fitted to parts of the training images; else validation images alone choose."""
    return num_folds > 0 and len(train.y) <= MAX_TRAIN


def assign_folds(train: FeatureSet, val: FeatureSet, num_folds: int) -> tuple[Labels, Labels]:
    """Give the fold of each training image, and of each validation image; every class keeps an image in every fit."""
    if not has_folds(train, num_folds):
        return np.full(len(train.y), ALWAYS_FITTED), np.zeros(len(val.y), dtype=np.int64)
    groups = np.array(groups_of(train) + groups_of(val))
    dealt = deal_folds(np.concatenate([train.y, val.y]), groups.tolist(), num_folds)
    folds, val_folds = np.split(dealt, [len(train.y)])
    alone = [len(np.unique(folds[train.y == k])) == 1 for k in range(len(train.classes))]
    never = np.array(alone)[train.y]
    of_train = groups[: len(train.y)]
    never |= (of_train != "") & np.isin(of_train, of_train[never])
    return np.where(never, ALWAYS_FITTED, folds), val_folds
