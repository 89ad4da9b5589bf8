"""Which images stand for all of them where all would take too long, and which are held out in turn."""

from collections.abc import Sequence

import numpy as np

from stages.graft.metrics.classification import Labels

Rows = Labels
"""Row numbers, ascending."""


def stratified_rows(y: Labels, num_images: int) -> Rows:
    """Choose rows evenly from every class; at least one of each, so that more than asked for may come.

    Args:
        y: class indices, shape (n,), in an order that says nothing about the images, such as that of their ids.
        num_images: how many; all rows when there are no more.
    """
    if len(y) <= num_images:
        return np.arange(len(y))
    by_class = np.argsort(y, kind="stable")
    evenly = by_class[np.linspace(0, len(y) - 1, num_images).round().astype(np.int64)]
    classes, first = np.unique(y, return_index=True)
    return np.union1d(evenly, first[~np.isin(classes, y[evenly])])


def draw_rows(y: Labels, per_class: int, rng: np.random.Generator) -> Rows:
    """Draw the same number of rows of every class at random, or all where a class has fewer.

    Args:
        y: class indices, shape (n,).
        per_class: how many, at least 1.
        rng: decides which.
    """
    order = rng.permutation(len(y))
    return np.sort(np.concatenate([order[y[order] == k][:per_class] for k in np.unique(y)]))


def deal_folds(y: Labels, groups: Sequence[str], num_folds: int) -> Labels:
    """Deal images to folds as cards: every class spread over all folds, a group never torn.

    Args:
        y: class indices, shape (n,).
        groups: name of each image's group; "" is a group of its own.
        num_folds: how many, at least 2.
    Returns:
        the fold of each image, in [0, num_folds), shape (n,).
    """
    first: dict[str, int] = {}
    for row, group in enumerate(groups):
        first.setdefault(group or f"\0{row}", row)
    units = sorted(first, key=lambda unit: (int(y[first[unit]]), first[unit]))
    fold_of = {unit: number % num_folds for number, unit in enumerate(units)}
    return np.array([fold_of[group or f"\0{row}"] for row, group in enumerate(groups)], dtype=np.int64)
