"""Conformal thresholds: scores of new images lie above them at a promised rate, whatever their distribution.

Letters: n images, g groups.
"""

import math

import numpy as np

from stages.graft.metrics.classification import Float, Labels

_TOLERANCE = 1e-9
"""For sums of fractions that should be whole numbers."""


def conformal_threshold(scores: Float, groups: Labels, rate: float) -> float | None:
    """Give the score above which new images lie at most at `rate`.

    Beside the scores, a new group counts, as large as the others on average, whose scores are all infinite.

    Args:
        scores: of images that are as new as the new one, shape (n,).
        groups: number of each one's group: images of a group are no independent evidence, shape (n,).
        rate: in (0, 1).
    Returns:
        The score; None with fewer than `least_groups` groups.
    Source:
        Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 2.2; groups pooled as in Dunn,
        Wasserman and Ramdas, Distribution-Free Prediction Sets for Two-Layer Hierarchical Models, JASA 2023. For groups
        of one size, the mean rate is at most `rate`; for others, nearly so.
    """
    with_new_group = len(scores) * (1 + 1 / len(np.unique(groups)))
    rank = math.ceil((1 - rate) * with_new_group - _TOLERANCE)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else None


def least_groups(rate: float) -> int:
    """Give the number of groups below which a rate, in (0, 1), cannot be promised."""
    return math.ceil(1 / rate - 1 - _TOLERANCE)
