"""Known images for choosing the distance above which an image is unknown, so that it calls few known ones so.

Letters: n images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.graft.core.threads import in_threads, num_cpus, one_thread_each
from stages.graft.metrics.classification import Float, Labels
from stages.graft.metrics.conformal import conformal_threshold
from stages.graft.metrics.sampling import deal_folds
from stages.graft.model.novelty import NoveltyDetector, fit_novelty
from stages.graft.model.scoring import ScoredSet

NUM_FOLDS = 10
"""Detectors that are fitted without a part of the training images, to measure the distances of that part."""

ENOUGH_GROUPS = 1000
"""With so many groups in validation, the threshold hardly varies."""


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """Distances of known images from detectors that were fitted without them."""

    distances: Float
    """Shape (n,)."""
    groups: Labels
    """Number of each one's group, shape (n,)."""

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))

    def unknown_above(self, false_alarm_rate: float) -> float | None:
        """Give the distance that known images exceed at that rate, as `conformal_threshold` does."""
        return conformal_threshold(self.distances, self.groups, false_alarm_rate)


def measure_known(
    detector: NoveltyDetector, train: ScoredSet, val: ScoredSet, enough_groups: int, num_folds: int = NUM_FOLDS
) -> KnownImages:
    """Measure distances of known images, each from a detector that was fitted without it and its group.

    Training images join those of validation, which makes the threshold vary less: detectors are fitted without a part
    of them.

    Args:
        detector: fitted to `train`.
        train, val: the images.
        enough_groups: number of groups in validation from which it is alone; 0 for a fine-tuned network, which knows
            its training images better than new ones.
        num_folds: parts of the training images that are left out in turn.
    Source:
        Vovk, Cross-conformal predictors, Annals of Mathematics and Artificial Intelligence 2015.
    """
    distances: list[Float] = [detector.distances(val.x)]
    groups = [val.groups]
    if len(np.unique(val.groups)) < enough_groups:
        with one_thread_each():
            for found, out in in_threads(_fit_without, _parts(train, num_folds), num_ahead=num_cpus()):
                distances.append(found)
                groups.append(out)
    return KnownImages(distances=np.concatenate(distances), groups=np.concatenate(groups))


def _fit_without(part: tuple[ScoredSet, ScoredSet]) -> tuple[Float, Labels]:
    """Fit a detector to the first images; give the distances of the others, and their groups."""
    fitted, out = part
    return fit_novelty(fitted.x, fitted.y).distances(out.x), out.groups


def _parts(train: ScoredSet, num_folds: int) -> Iterator[tuple[ScoredSet, ScoredSet]]:
    """Training images but a part of them, and that part; without images whose class is in no other part."""
    folds = deal_folds(train.y, [str(group) for group in train.groups], num_folds)
    for fold in np.unique(folds):
        fitted = folds != fold
        out = ~fitted & np.isin(train.y, train.y[fitted])
        if out.any():
            yield train.rows(fitted), train.rows(out)
