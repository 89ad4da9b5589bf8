"""How alike images are to the network: their features on a sphere, and similarities to some of them.

Letters: n images, d features, r references.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.heads.head import Float32
from stages.graft.heads.standardisation import fit_standardisation

NUM_DIRECTIONS = 64
"""Main directions that are kept; 32 and 128 cover classes as well."""

MAX_FITTED = 5000
"""Images that the directions are fitted to, at most."""

MAX_REFERENCES = 4000
"""Images that all others are compared with, at most; with more images, some of them stand for all."""

NEAR_SHARE = 0.1
"""Share of all pairs that are near: their similarity is above 1/e."""

Rows = npt.NDArray[np.int64]
"""Numbers of images."""


@dataclass(frozen=True, kw_only=True)
class Similarities:
    """Similarities of n images to r of them, the references."""

    matrix: Float32
    """In [0, 1], shape (n, r)."""
    references: Rows
    """Numbers of the references, ascending, shape (r,)."""


def place_on_sphere(x: Float32) -> Float32:
    """Reduce features (n, d) to their main directions, and divide each image's by its length, shape (n, 64 or fewer).

    All images take part, labelled or not: the directions and the scale of the features are those of the whole pool.
    """
    with threadpool_limits(1):  # the same bits whatever the number of cores
        softsign = fit_standardisation(x).to_softsign()
        some = softsign.apply(x[evenly(len(x), MAX_FITTED)])
        if not np.ptp(some, axis=0).any():  # one image, or blank ones: there is no direction
            return np.ones((len(x), 1), np.float32)
        num_directions = min(NUM_DIRECTIONS, *some.shape)
        pca = PCA(n_components=num_directions, svd_solver="randomized", random_state=0).fit(some)
        points = np.concatenate([pca.transform(softsign.apply(part)) for part in np.array_split(x, -(-len(x) // 4096))])
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def compare_images(points: Float32) -> Similarities:
    """Compare n points on a sphere with at most MAX_REFERENCES of them: exp(-d²/w), w the NEAR_SHARE quantile of d²."""
    references = evenly(len(points), MAX_REFERENCES)
    with threadpool_limits(1):
        distances = np.maximum(2 - 2 * points @ points[references].T, 0)  # squared
    width = float(np.quantile(distances[evenly(len(points), 500)], NEAR_SHARE)) or 1.0
    np.divide(distances, -width, out=distances)
    return Similarities(matrix=np.exp(distances, out=distances), references=references)


def evenly(num_rows: int, at_most: int) -> Rows:
    """Give the numbers of some rows, evenly spread; in order of id, which is a hash, they are as good as random."""
    return np.unique(np.linspace(0, num_rows - 1, min(num_rows, at_most)).round().astype(np.int64))
