"""Whether two images show the same thing: local features that agree on one motion, then the pixels under it.

Letters: p and q points of the two images, m matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stages.graft.duplicates.codebook import MIRRORED
from stages.graft.duplicates.description import Description, unit_rows

Float32 = npt.NDArray[np.float32]
Descriptors = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Matches = npt.NDArray[np.int64]
"""Numbers of a point in the first image and one in the second, shape (m, 2)."""
Motion = npt.NDArray[np.float64]
"""A turn, a scale and a shift that take points of the first image to the second, shape (2, 3)."""

LEAST_POINTS = 10
"""Places that must agree on the motion."""

RATIO = 0.85
"""A match must be this much nearer than the second nearest point (Lowe, IJCV 2004, section 7.1)."""

TOLERANCE_PX = 1.5
"""Distance, in pixels of the pattern, within which a place agrees with a motion."""

MAX_TRIALS, CERTAINTY = 500, 0.995
"""Of RANSAC, which draws from a seed of its own: the same matches give the same motion."""

MAX_SCALE = 2.0
"""Largest and, inverted, smallest scale of a motion."""

LEAST_OVERLAP_PX = 150
"""Pixels of the pattern under both images, at least, for a correlation."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two images agree."""

    num_points: int
    """Places that agree on the motion."""
    correlation: float
    """Of the two patterns under the motion, [-1, 1]."""
    overlap: float
    """Share of the smaller image that the other shows too, [0, 1]."""
    is_mirrored: bool
    """Whether one is a mirror image of the other."""


NONE = Agreement(num_points=0, correlation=0.0, overlap=0.0, is_mirrored=False)
"""Of images that have nothing to do with each other."""


def compare(first: Description, others: Sequence[Description]) -> list[Agreement]:
    """Compare an image with others, as they are and mirrored.

    Returns:
        For each of the others the better agreement of the two; NONE when there is no motion.
    Source:
        Fischler and Bolles, Random sample consensus, CACM 1981.
    """
    found, can_match = [NONE] * len(others), [k for k, other in enumerate(others) if _can_match(first, other)]
    if not can_match:
        return found
    matches = match(first.descriptors, [others[k].descriptors for k in can_match])
    for k, (straight, mirrored) in zip(can_match, matches, strict=True):
        agreements = (
            _agreement(first, others[k], straight, is_mirrored=False),
            _agreement(first, others[k], mirrored, is_mirrored=True),
        )
        found[k] = max(agreements, key=lambda agreement: (agreement.correlation, agreement.num_points))
    return found


def _can_match(first: Description, second: Description) -> bool:
    return not first.is_plain and not second.is_plain and min(len(first.points), len(second.points)) >= LEAST_POINTS


def _agreement(first: Description, second: Description, matches: Matches, is_mirrored: bool) -> Agreement:
    if len(matches) < LEAST_POINTS:
        return NONE
    points, pattern = _mirror(second) if is_mirrored else (second.points, second.pattern)
    motion, num_points = _motion(first.points[matches[:, 0]], points[matches[:, 1]])
    if motion is None or num_points < LEAST_POINTS:
        return NONE
    correlation, overlap = correlate(first.pattern, pattern, motion)
    return Agreement(num_points=num_points, correlation=correlation, overlap=overlap, is_mirrored=is_mirrored)


def _mirror(image: Description) -> tuple[Float32, Float32]:
    """Points and pattern of the mirror image."""
    points = image.points.copy()
    points[:, 0] = image.pattern.shape[1] - 1 - points[:, 0]
    return points, image.pattern[:, ::-1]


def match(first: Descriptors, others: Sequence[Descriptors]) -> list[tuple[Matches, Matches]]:
    """Match each descriptor of an image with its nearest of another one, where both choose each other clearly.

    Args:
        first: shape (p, 128), of any length.
        others: of several images, each of shape (q, 128).
    Returns:
        For each of the others its matches, and those of its mirror image.
    """
    num_points = np.array([len(other) for other in others])
    padded = np.zeros((len(others), num_points.max(), first.shape[1]), first.dtype)
    for row, other in zip(padded, others, strict=True):
        row[: len(other)] = other
    both = unit_rows(np.concatenate([first, first[:, MIRRORED]]))  # the same cosines as with the others mirrored
    cosines = both @ unit_rows(padded.reshape(-1, first.shape[1])).T
    cosines = cosines.reshape(2, len(first), *padded.shape[:2])
    cosines[:, :, np.arange(padded.shape[1]) >= num_points[:, None]] = -1
    nearest = cosines.argmax(axis=3)[..., None]
    best, best_of_column = np.take_along_axis(cosines, nearest, axis=3), cosines.max(axis=1, keepdims=True)
    is_mutual = best == np.take_along_axis(best_of_column, nearest, axis=3)
    np.put_along_axis(cosines, nearest, -1, axis=3)
    is_clear = 1 - best <= RATIO**2 * (1 - cosines.max(axis=3, keepdims=True))  # squared distances, halved
    chosen, nearest = (is_mutual & is_clear)[..., 0], nearest[..., 0]

    def matches(is_mirrored: int, k: int) -> Matches:
        own = chosen[is_mirrored, :, k].nonzero()[0]
        return np.stack([own, nearest[is_mirrored, own, k]], axis=1)

    return [(matches(0, k), matches(1, k)) for k in range(len(others))]


def _motion(start: Float32, end: Float32) -> tuple[Motion | None, int]:
    """The motion on which most matched points agree, and the number of different places that do."""
    motion, agrees = cv2.estimateAffinePartial2D(
        start,
        end,
        method=cv2.RANSAC,
        ransacReprojThreshold=TOLERANCE_PX,
        maxIters=MAX_TRIALS,
        confidence=CERTAINTY,
    )
    if motion is None or not 1 / MAX_SCALE < np.hypot(motion[0, 0], motion[0, 1]) < MAX_SCALE:
        return None, 0
    places = np.round(end[agrees.ravel() > 0] / 2).astype(np.int64)
    return np.asarray(motion, dtype=np.float64), len(np.unique(places[:, 0] * 1000 + places[:, 1]))


def correlate(first: Float32, second: Float32, motion: Motion) -> tuple[float, float]:
    """Correlate two patterns where they overlap after the motion.

    Returns:
        The correlation, and the overlap as a share of the smaller one; zeros when too little overlaps.
    """
    height, width = second.shape
    moved = cv2.warpAffine(first, motion, (width, height), flags=cv2.INTER_LINEAR)
    inside = cv2.warpAffine(np.full(first.shape, 255, np.uint8), motion, (width, height), flags=cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    covered = inside > 0
    num_covered = int(np.count_nonzero(covered))
    if num_covered < LEAST_OVERLAP_PX:
        return 0.0, 0.0
    x, y = moved[covered], second[covered]
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt(float(x @ x) * float(y @ y))
    area = abs(float(np.linalg.det(motion[:, :2]))) * first.size
    return float(x @ y) / max(float(norm), 1e-9), num_covered / min(height * width, area)
