"""Samples of images that keep the share of every class, and folds for cross-validation."""

from collections.abc import Sequence

import numpy as np

from stages.graft.metrics.classification import Labels

Rows = Labels
"""Row numbers, ascending."""


def stratified_rows(y: Labels, num_images: int) -> Rows:
    """Choose the same share of rows from every class, at least one of each; so the result can be longer than asked for.

    Args:
        y: class indices, shape (n,), in an order that says nothing about the images, such as that of their ids.
        num_images: number of rows; when there are fewer, all of them.
    """
    if len(y) <= num_images:
        return np.arange(len(y))
    by_class = np.argsort(y, kind="stable")
    evenly = by_class[np.linspace(0, len(y) - 1, num_images).round().astype(np.int64)]
    classes, first = np.unique(y, return_index=True)
    return np.union1d(evenly, first[~np.isin(classes, y[evenly])])


def draw_rows(y: Labels, per_class: int, rng: np.random.Generator) -> Rows:
    """Draw the same number of rows, at least 1, from every class at random; all rows of a class that has fewer."""
    order = rng.permutation(len(y))
    return np.sort(np.concatenate([order[y[order] == k][:per_class] for k in np.unique(y)]))


def deal_folds(y: Labels, groups: Sequence[str], num_folds: int) -> Labels:
    """Assign images to folds: every class is spread over all folds, and a group stays in one fold.

    Args:
        y: class indices, shape (n,).
        groups: name of each image's group; an image with "" is in no group.
        num_folds: number of folds, at least 2.
    Returns:
        The fold of each image, in [0, num_folds), shape (n,).
    """
    first: dict[str, int] = {}
    for row, group in enumerate(groups):
        first.setdefault(group or f"\0{row}", row)
    units = sorted(first, key=lambda unit: (int(y[first[unit]]), first[unit]))
    fold_of = {unit: number % num_folds for number, unit in enumerate(units)}
    return np.array([fold_of[group or f"\0{row}"] for row, group in enumerate(groups)], dtype=np.int64)
