"""Suggestions: which images to label next, and why each.

At first the choice covers all images, so that every kind of image is seen. Once the classes found have some labels, it
covers the images that a head fitted to the labels is least sure of: earlier, the head is often wrong about what it is
sure of; later, the same choice goes on labelling what is easy.
Letters: n images, d features, c classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32
from stages.graft.heads.lda import fit_discriminants
from stages.graft.labelling.clusters import Cluster, cluster_numbers, find_clusters
from stages.graft.labelling.coverage import choose_covering
from stages.graft.labelling.similarity import Rows, compare_images, evenly, place_on_sphere

LABELS_PER_CLASS = 2
"""Labels for each class seen from which on the head takes part."""

UNSURE_PER_SUGGESTION = 5
"""Least sure images, for each one asked for, among which the choice is made."""

ODD_SHARE = 0.01
"""Share of the images that are unlike anything: their nearest images are the furthest away."""

RARE_SHARE = 0.5
"""A class with less than this share of the mean number of labels is rare."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An image to label."""

    row: int
    """Its number among all images."""
    cluster: int
    """Number of its cluster; the largest is 0."""
    reason: str
    """Why, in words."""
    guess: str
    """The class that a head fitted to the labels gives it; empty without a head."""
    second: str
    """The next class; empty without a head."""


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What a head fitted to the labels says about all images."""

    classes: tuple[str, ...]
    """Names of the c classes that have labels."""
    first: Rows
    """The most likely class of each image, shape (n,)."""
    second: Rows
    """The next class, shape (n,)."""
    margins: Float
    """How much more likely the first is: a difference of discriminants, 0 or more, shape (n,)."""
    num_labels: Rows
    """Labels of each class, shape (c,)."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All images, labelled or not, in order of id."""

    x: Float32
    """Features, shape (n, d)."""
    labels: Sequence[str]
    """Class names, n of them; empty where there is no label."""
    is_candidate: npt.NDArray[np.bool_]
    """Images that can be suggested, shape (n,)."""


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """The suggestions, and the clusters that they come from."""

    suggestions: tuple[Suggestion, ...]
    """The most useful first."""
    clusters: tuple[Cluster, ...]
    """Of all images, the largest first."""


def suggest(pool: Pool, number: int) -> Suggested:
    """Choose images to label next.

    Args:
        pool: the images.
        number: how many, at most.
    """
    points = place_on_sphere(pool.x)
    guesses = guess_classes(pool)
    chosen = choose_images(pool, points, guesses, number)
    clusters = tuple(find_clusters(points))
    reasons = _reasons(pool, points, clusters, guesses, chosen)
    numbers = cluster_numbers(clusters)
    suggestions = tuple(
        Suggestion(row=row, cluster=int(numbers[row]), reason=reason, guess=names[0], second=names[1])
        for row, reason, names in zip(chosen, reasons, _names(guesses, chosen), strict=True)
    )
    return Suggested(suggestions=suggestions, clusters=clusters)


def choose_images(pool: Pool, points: Float32, guesses: Guesses | None, number: int) -> list[int]:
    """Choose rows: a cover of all images or, with enough labels, of the ones that the head is least sure of."""
    similarities, candidates = compare_images(points), np.flatnonzero(pool.is_candidate)
    labelled = _labelled(pool)
    if guesses is None or guesses.num_labels.mean() < LABELS_PER_CLASS:
        return choose_covering(similarities, candidates, labelled, number)
    margins = guesses.margins
    typical = float(np.median(margins[candidates])) if len(candidates) else 1.0
    unsure = candidates[np.argsort(margins[candidates], kind="stable")[: UNSURE_PER_SUGGESTION * number]]
    return choose_covering(similarities, unsure, labelled, number, 0.5 ** (margins / (typical or 1.0)))


def guess_classes(pool: Pool) -> Guesses | None:
    """Fit discriminants to the labels, in the main directions of all images; None with fewer than two classes."""
    rows = _labelled(pool)
    names = [pool.labels[row] for row in rows]
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        return None
    y = np.searchsorted(np.array(classes), np.array(names)).astype(np.int64)
    labelled = FeatureSet(ids=(), x=pool.x[rows], y=y, classes=classes, unlabelled=pool.x)
    head, _ = fit_discriminants(labelled, class_weights(y, classes, "none"))
    logits = head.logits(pool.x)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    best = np.take_along_axis(logits, order, axis=1).astype(np.float64)
    return Guesses(
        classes=classes,
        first=order[:, 0],
        second=order[:, 1],
        margins=best[:, 0] - best[:, 1],
        num_labels=np.bincount(y, minlength=len(classes)),
    )


def _labelled(pool: Pool) -> Rows:
    return np.flatnonzero(np.array(pool.labels, dtype=object) != "")


def _names(guesses: Guesses | None, rows: Sequence[int]) -> Iterator[tuple[str, str]]:
    for row in rows:
        yield (
            ("", "") if guesses is None else (guesses.classes[guesses.first[row]], guesses.classes[guesses.second[row]])
        )


def _reasons(
    pool: Pool, points: Float32, clusters: Sequence[Cluster], guesses: Guesses | None, rows: Sequence[int]
) -> Iterator[str]:
    """Say why each image was chosen: the most telling reason that holds."""
    numbers, labelled = cluster_numbers(clusters), _labelled(pool)
    with_labels, odd = set(numbers[labelled].tolist()), _odd(points, rows)
    unsure = np.quantile(guesses.margins, 0.25) if guesses else 0.0
    for row in rows:
        number = int(numbers[row])
        size = len(clusters[number].rows)
        if row in odd:
            yield "unlike anything else"
        elif guesses and guesses.num_labels[guesses.first[row]] < RARE_SHARE * guesses.num_labels.mean():
            rare = int(guesses.num_labels[guesses.first[row]])
            yield f"likely {guesses.classes[guesses.first[row]]}, a class with {rare} labels"
        elif number not in with_labels:
            yield f"typical of cluster {number + 1} ({size} images), where nothing is labelled"
        elif guesses and guesses.margins[row] <= unsure:
            yield f"between {guesses.classes[guesses.first[row]]} and {guesses.classes[guesses.second[row]]}"
        else:
            yield f"unlike the labelled images of cluster {number + 1} ({size} images)"


def _odd(points: Float32, rows: Sequence[int]) -> set[int]:
    """Find those of the rows whose nearest other image is further away than that of nearly all of a sample."""
    sample = evenly(len(points), 1000)
    asked = np.array(rows, dtype=np.int64)
    limit = np.quantile(_nearest(points, sample), ODD_SHARE)
    return set(asked[_nearest(points, asked) < limit].tolist())


def _nearest(points: Float32, rows: Rows) -> Float:
    """Give the cosine of each row's most similar other image."""
    cosines = points[rows] @ points.T
    cosines[np.arange(len(rows)), rows] = -1
    return np.asarray(cosines.max(axis=1), dtype=np.float64)
