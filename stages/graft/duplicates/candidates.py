"""Pairs of images that may be near-duplicates: the nearest neighbours of each image by its summary.

Letters: n images, d numbers of a summary.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.int64]
"""Numbers of two images, the smaller first, ascending, shape (m, 2)."""

NUM_NEIGHBOURS = 10
"""Neighbours of each image that are compared with it, at most."""

LEAST_COSINE = 0.12
"""Similarity of two summaries below which they are not compared."""

MAX_COSINES = 2**24
"""Similarities that are computed at the same time, which bounds memory."""

GROUP_SIZE = 64
"""Similarities of which only the largest is looked at first."""


def candidate_pairs(summaries: npt.NDArray[np.float16]) -> Pairs:
    """Find the pairs of images that are worth a comparison, by their summaries, of length 1, shape (n, d)."""
    if len(summaries) < 2:
        return np.empty((0, 2), np.int64)
    pairs = np.concatenate([np.sort(some, axis=1) for some in _neighbours(summaries.astype(np.float32))])
    return np.unique(pairs, axis=0).reshape(-1, 2)


def _neighbours(x: Float32) -> Iterator[Pairs]:
    """Pairs of each image and its nearest neighbours that are similar enough."""
    num, chunk = min(NUM_NEIGHBOURS, len(x) - 1), max(1, MAX_COSINES // len(x))
    full = np.zeros((-(-len(x) // GROUP_SIZE) * GROUP_SIZE, x.shape[1]), np.float32)  # what is added is like nothing
    full[: len(x)] = x
    for start in range(0, len(x), chunk):
        cosines = x[start : start + chunk] @ full.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -1
        nearest = _largest(cosines, num)
        near = np.take_along_axis(cosines, nearest, axis=1) >= LEAST_COSINE
        yield np.column_stack([start + np.nonzero(near)[0], nearest[near]])


def _largest(values: Float32, num: int) -> Pairs:
    """Columns of the `num` largest values of each row: all of them lie in the `num` groups with the largest maxima.

    A group has every column with the same remainder: so maxima are those of whole rows, which is fast.
    """
    num_groups = values.shape[1] // GROUP_SIZE
    maxima = values.reshape(len(values), GROUP_SIZE, num_groups).max(axis=1)
    groups = np.argpartition(maxima, -min(num, num_groups), axis=1)[:, -num:]
    columns = (groups[:, :, None] + num_groups * np.arange(GROUP_SIZE)).reshape(len(values), -1)
    chosen = np.argpartition(np.take_along_axis(values, columns, axis=1), -num, axis=1)[:, -num:]
    return np.take_along_axis(columns, chosen, axis=1)
