"""Pairs of images that may be near-duplicates: the nearest neighbours of each image by its summary.

Letters: n images, d numbers of a whitened summary.
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
"""Similarity of two whitened summaries below which they are not compared."""

NUM_WHITENED = 128
"""Numbers of a whitened summary, at most."""

IMAGES_PER_NUMBER = 4
"""Images for each number of a whitened summary, at least: with fewer, all images become equally far."""

MAX_FITTED = 5000
"""Images to which the whitening is fitted, at most."""

MAX_COSINES = 2**24
"""Similarities that are computed at the same time, which bounds memory."""


def candidate_pairs(summaries: npt.NDArray[np.int8]) -> Pairs:
    """Find the pairs of images that are worth a comparison.

    Args:
        summaries: of images with local features, shape (n, SUMMARY_DIM).
    Source:
        Jégou and Chum, Negative evidences and co-occurrences in image retrieval, ECCV 2012 (whitening).
    """
    if len(summaries) < 2:
        return np.empty((0, 2), np.int64)
    x = _whitened(summaries)
    pairs = np.concatenate([np.sort(pairs, axis=1) for pairs in _neighbours(x)])
    return np.unique(pairs, axis=0).reshape(-1, 2)


def _whitened(summaries: npt.NDArray[np.int8]) -> Float32:
    """Summaries in which what many images share counts less, of length 1, shape (n, d)."""
    from sklearn.utils.extmath import randomized_svd

    rows = np.linspace(0, len(summaries) - 1, min(len(summaries), MAX_FITTED)).round().astype(np.int64)
    fitted = summaries[rows].astype(np.float32)
    mean = fitted.mean(axis=0)
    num_whitened = max(1, min(NUM_WHITENED, len(rows) // IMAGES_PER_NUMBER))
    _, scales, components = randomized_svd(fitted - mean, num_whitened, random_state=0)
    weights = (components / np.maximum(scales, 1e-6)[:, None]).T.astype(np.float32)
    starts = range(0, len(summaries), MAX_FITTED)
    x = np.concatenate([(summaries[s : s + MAX_FITTED].astype(np.float32) - mean) @ weights for s in starts])
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _neighbours(x: Float32) -> Iterator[Pairs]:
    """Pairs of each image and its nearest neighbours that are similar enough."""
    num, chunk = min(NUM_NEIGHBOURS, len(x) - 1), max(1, MAX_COSINES // len(x))
    for start in range(0, len(x), chunk):
        cosines = x[start : start + chunk] @ x.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -1
        nearest = np.argpartition(cosines, -num, axis=1)[:, -num:]
        near = np.take_along_axis(cosines, nearest, axis=1) >= LEAST_COSINE
        yield np.column_stack([start + np.nonzero(near)[0], nearest[near]])
