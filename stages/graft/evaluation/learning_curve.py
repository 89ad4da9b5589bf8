"""Accuracy over the number of labels, on images that the heads were fitted without; and what more labels would bring.

Letters: n images, k sizes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.progress import bar
from stages.graft.evaluation.forecast import (
    CERTAIN_UP_TO,
    Curves,
    Interval,
    expect_accuracy,
    expect_gain,
    expect_labels,
    fit_curves,
)
from stages.graft.heads.features import FeatureSet, groups_of, select_rows
from stages.graft.heads.lda import fit_discriminants
from stages.graft.metrics.classification import Labels
from stages.graft.metrics.sampling import deal_folds, stratified_rows

NUM_DRAWS = {0.125: 4, 0.25: 4, 0.5: 3, 1.0: 1}
"""Shares of the images that heads are fitted to, and draws of each."""

MANY, MAX_IMAGES = 1000, 5000
"""Above so many images 5 parts are made instead of 10; and images that take part, at most."""

FACTORS = (2, 4)
"""As many times the labels as there are."""

NUM_WEAKEST, LEAST_OF_CLASS = 3, 10
"""Classes whose recall is forecast too, at most, and images that such a class must have."""

NUM_DIGITS = 4
"""Of every number in the record."""

Outlook = dict[str, Any]
"""now; accuracy_with and gain_with, by factor; labels_for_target."""


@dataclass(frozen=True, kw_only=True)
class CurvePoints:
    """How often images are classified right by heads fitted to few labels and to many."""

    sizes: npt.NDArray[np.float64]
    """Mean number of labels, ascending, shape (k,)."""
    correct: npt.NDArray[np.float64]
    """Share of the draws of each size in which an image was classified right, shape (k, n)."""
    y: Labels
    """Class indices, shape (n,)."""


def measure_curve(images: FeatureSet, seed: int) -> CurvePoints:
    """Leave out one part of the images after another, fit discriminants to shares of the others, and score the part.

    Args:
        images: every class has at least 2; groups stay in one part.
        seed: of the draws.
    """
    # Not more parts than images of most classes: else a head would lack an image of some classes and not of others.
    # One rare class does not decide: with two parts, every head is fitted to half of the images, far from all of them.
    num_folds = max(2, min(10 if len(images.y) <= MANY else 5, int(np.median(np.bincount(images.y)))))
    folds = deal_folds(images.y, groups_of(images), num_folds)
    correct, sizes = np.zeros((len(NUM_DRAWS), len(images.y))), np.zeros(len(NUM_DRAWS))
    used = [fold for fold in range(num_folds) if _all_classes_left(images, folds != fold)]
    for fold in bar(used, desc="learning curve", unit="folds"):
        rest, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        for place, (share, num_draws) in enumerate(NUM_DRAWS.items()):
            for draw in range(num_draws):
                rows = _draw(images.y, rest, share, np.random.default_rng((seed, fold, place, draw)))
                correct[place, out] += _score(images, rows, out) / num_draws
                sizes[place] += len(rows) / num_draws / len(used)
    scored = np.flatnonzero(np.isin(folds, used))
    _, different = np.unique(sizes.round(6), return_index=True)  # of few images, shares can give the same number
    return CurvePoints(sizes=sizes[different], correct=correct[np.ix_(different, scored)], y=images.y[scored])


def forecast_record(images: FeatureSet, usable: Labels, target: float, seed: int) -> dict[str, Any]:
    """Say what more labels would bring, as a record for a report.

    Args:
        images: those with labels, in order of id.
        usable: rows of those that are not for the test, ascending.
        target: accuracy that is asked for.
        seed: of draws and resamples.
    Returns:
        num_labels, and of `all` images and of the `weakest` classes what `_outlook` gives; without an outlook where
        some class has too few images.
    """
    record: dict[str, Any] = {"num_labels": len(usable), "target": target, "all": None, "weakest": {}}
    some = select_rows(images, usable[stratified_rows(images.y[usable], MAX_IMAGES)])
    if len(images.classes) < 2 or np.bincount(some.y, minlength=len(images.classes)).min() < 2:
        return record
    points = measure_curve(some, seed)
    if len(points.sizes) < 2:
        return record
    record["all"] = _outlook(points, points.correct, record, seed)
    for k in _weakest(points, len(images.classes)):
        record["weakest"][images.classes[k]] = _outlook(points, points.correct[:, points.y == k], record, seed)
    return record


def format_forecast(record: Mapping[str, Any]) -> str:
    """Say what more labels would bring."""
    outlook = record["all"]
    if outlook is None:
        return "too few labels to say what more would bring"
    factor = FACTORS[0]
    expected, labels = outlook["accuracy_with"][str(factor)], outlook["labels_for_target"]
    text = f"with {factor} times the labels {expected['low']:.1%} to {expected['high']:.1%} expected"
    if isinstance(labels, str):
        return text
    return f"{text}, {record['target']:.1%} takes {labels['low']} to {labels['high'] or 'very many'} labels"


def _outlook(points: CurvePoints, correct: npt.NDArray[np.float64], record: Mapping[str, Any], seed: int) -> Outlook:
    """Forecast the share that is right: now, with more labels, and how many labels a target takes in all."""
    curves, total = fit_curves(points.sizes, correct, seed), record["num_labels"]
    return {
        "now": _rounded(expect_accuracy(curves, total)),
        "accuracy_with": {str(factor): _rounded(expect_accuracy(curves, factor * total)) for factor in FACTORS},
        "gain_with": {str(factor): _rounded(expect_gain(curves, total, factor * total)) for factor in FACTORS},
        "labels_for_target": _labels(curves, total, record["target"]),
    }


def _labels(curves: Curves, total: int, target: float) -> dict[str, float | None] | str:
    """Give the number of labels for a target, or say in words why there is none."""
    if expect_accuracy(curves, total).middle >= target:
        return "reached"
    found = expect_labels(curves, total, target)
    if found is None:
        where = f"above {CERTAIN_UP_TO:.0%}" if target > CERTAIN_UP_TO else "here"
        return f"how many would bring {target:.1%} cannot be said: {where} the curve is too flat"
    high = round(found.high) if np.isfinite(found.high) else None
    return {"low": round(found.low), "middle": round(found.middle), "high": high}


def _rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, NUM_DIGITS) for name, value in vars(interval).items()}


def _weakest(points: CurvePoints, num_classes: int) -> Iterator[int]:
    """Give the classes with the lowest recall, the lowest first."""
    y = points.y
    recalls = {k: points.correct[-1, y == k].mean() for k in range(num_classes) if (y == k).sum() >= LEAST_OF_CLASS}
    yield from sorted(recalls, key=lambda k: (recalls[k], k))[:NUM_WEAKEST]


def _all_classes_left(images: FeatureSet, is_left: npt.NDArray[np.bool_]) -> bool:
    return len(np.unique(images.y[is_left])) == len(images.classes)


def _draw(y: Labels, rows: Labels, share: float, rng: np.random.Generator) -> Labels:
    """Draw a share of the rows of every class, at least one."""
    order = rng.permutation(rows)
    of_class = [order[y[order] == k] for k in np.unique(y[rows])]
    return np.concatenate([some[: max(1, round(share * len(some)))] for some in of_class])


def _score(images: FeatureSet, rows: Labels, out: Labels) -> npt.NDArray[np.float64]:
    """Fit to some rows, and tell which others are classified right."""
    head, _ = fit_discriminants(select_rows(images, rows), np.ones(len(images.classes)))
    return np.asarray(head.logits(images.x[out]).argmax(axis=1) == images.y[out], dtype=np.float64)
