"""Images of classes that the model does not have: each class is held out in turn, and its images should be unknown.

Letters: c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from stages.graft.core.threads import in_threads, num_cpus, one_thread_each
from stages.graft.metrics.classification import Float, area_under_roc
from stages.graft.metrics.sampling import stratified_rows
from stages.graft.model.false_alarms import measure_known
from stages.graft.model.novelty import fit_novelty
from stages.graft.model.scoring import ScoredSplits

MIN_CLASSES = 3
"""With fewer, what remains without one is no choice between classes."""

MAX_PARTS = 10
"""Parts of the classes that are held out in turn; of up to so many classes, each alone."""

ENOUGH_GROUPS = 100
"""Groups in validation from which they alone choose the distance: a mean over classes varies less than one distance."""

NUM_FOLDS = 5
"""Parts of the training images that are left out in turn to choose a distance; ten take twice as long."""

MAX_IMAGES = 2000
"""Largest number of training images that detectors are fitted to here; more change the results little."""


@dataclass(frozen=True, kw_only=True)
class UnseenClass:
    """How the images of a class are seen by detectors that were fitted without it."""

    label: str
    """Its name."""
    auroc: float
    """Probability that an image of it is farther away than a test image of a class that was not held out."""
    found: float | None
    """Share of its images that are called unknown; None when there are too few images to choose the distance."""


def measure_unseen(images: ScoredSplits, classes: Sequence[str], rate: float) -> list[UnseenClass]:
    """Hold each class out in turn: fit the detector to the others, choose its distance, and look at the images left.

    Args:
        images: train, validation and test, with features of a network that was not trained on them.
        classes: names, c of them.
        rate: of false alarms, in (0, 1).
    Returns:
        A row for each class; empty with fewer than MIN_CLASSES classes, where nothing can be measured.
    """
    if len(classes) < MIN_CLASSES:
        return []
    train, val, test = images
    train = train.rows(stratified_rows(train.y, MAX_IMAGES))
    parts = np.array_split(np.arange(len(classes)), min(len(classes), MAX_PARTS))
    hold_out = partial(_hold_out, images=(train, val, test), classes=classes, rate=rate)
    with one_thread_each():
        found = in_threads(hold_out, [part.tolist() for part in parts], num_ahead=num_cpus())
        return [row for rows in found for row in rows]


def _hold_out(part: Sequence[int], images: ScoredSplits, classes: Sequence[str], rate: float) -> list[UnseenClass]:
    """Hold out the classes of a part."""
    train, val, test = (one.rows(~np.isin(one.y, part)) for one in images)
    detector = fit_novelty(train.x, train.y)
    limit = measure_known(detector, train, val, ENOUGH_GROUPS, NUM_FOLDS).unknown_above(rate)
    known = detector.distances(test.x)
    rows = []
    for k in part:
        distances: Float = np.concatenate([detector.distances(one.x[one.y == k]) for one in images])
        found = None if limit is None else float(np.mean(distances > limit))
        rows.append(UnseenClass(label=classes[k], auroc=area_under_roc(known, distances), found=found))
    return rows
