"""Whether two images show the same thing: local features that agree on one motion, then the pixels under it.

Letters: p and q points of the two images, m matches.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stages.graft.duplicates.codebook import MIRRORED
from stages.graft.duplicates.description import LEAST_CONTRAST, Description, Rows, description_of, unit_rows

Float32 = npt.NDArray[np.float32]
Descriptors = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
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


def compare(first: Rows, others: Rows) -> list[Agreement]:
    """Compare an image with others, as they are and mirrored.

    Args:
        first: its description, shape (1,).
        others: descriptions of the others, shape (k,).
    Returns:
        For each of the others the better agreement of the two; NONE when there is no motion.
    Source:
        Fischler and Bolles, Random sample consensus, CACM 1981.
    """
    is_able = [has_structure(rows["contrast"], rows["num_points"]) for rows in (first, others)]
    found, able = [NONE] * len(others), np.flatnonzero(is_able[0] & is_able[1])
    if not len(able):
        return found
    descriptors = first["descriptors"][0, : first["num_points"][0]]
    does_match, nearest = match(descriptors, others["descriptors"][able], others["num_points"][able])
    for k in np.flatnonzero((does_match.sum(axis=1) >= LEAST_POINTS).any(axis=0)):
        pair = description_of(first[0]), description_of(others[able[k]])
        agreements = [
            _agreement(*pair, _matches(does_match[is_mirrored, :, k], nearest[is_mirrored, :, k]), bool(is_mirrored))
            for is_mirrored in (0, 1)
        ]
        found[able[k]] = max(agreements, key=lambda agreement: (agreement.correlation, agreement.num_points))
    return found


def has_structure(contrast: Float32, num_points: npt.NDArray[np.uint16]) -> Bools:
    """Tell which of n images have contrast and points enough to be compared, by these fields of their descriptions."""
    return np.asarray((contrast >= LEAST_CONTRAST) & (num_points >= LEAST_POINTS))


def match(first: Descriptors, others: Descriptors, num_points: npt.NDArray[np.uint16]) -> tuple[Bools, Matches]:
    """Match each point of an image with its nearest of another one, where both choose each other clearly.

    Args:
        first: descriptors, shape (p, 128), of any length.
        others: those of k images, shape (k, q, 128).
        num_points: of each of the others; rows after these are not looked at.
    Returns:
        Whether a point matches, and with which of the other image's; shape (2, p, k), second those of the mirror image.
    """
    both = unit_rows(np.concatenate([first, first[:, MIRRORED]]))  # the same cosines as with the others mirrored
    others = others[:, : num_points.max()]
    cosines = (both @ unit_rows(others.reshape(-1, first.shape[1])).T).reshape(2, len(first), *others.shape[:2])
    cosines[:, :, np.arange(others.shape[1]) >= num_points[:, None]] = -1
    nearest = cosines.argmax(axis=3)[..., None]
    best, best_of_column = np.take_along_axis(cosines, nearest, axis=3), cosines.max(axis=1, keepdims=True)
    is_mutual = best == np.take_along_axis(best_of_column, nearest, axis=3)
    np.put_along_axis(cosines, nearest, -1, axis=3)
    is_clear = 1 - best <= RATIO**2 * (1 - cosines.max(axis=3, keepdims=True))  # squared distances, halved
    return (is_mutual & is_clear)[..., 0], nearest[..., 0]


def _matches(does_match: Bools, nearest: Matches) -> Matches:
    """Numbers of matching points in both images, shape (m, 2)."""
    own = does_match.nonzero()[0]
    return np.stack([own, nearest[own]], axis=1)


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
