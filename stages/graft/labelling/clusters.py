"""Clusters of images: how many, how big, and which images are typical of each or odd.

Letters: n images, c clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.heads.head import Float32
from stages.graft.labelling.similarity import Rows, evenly

NUMBERS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
"""Numbers of clusters that are tried."""

MAX_COMPARED = 1500
"""Images on which the numbers are compared, at most."""

MAX_FITTED = 10_000
"""Images that the centres are fitted to, at most."""

NUM_NEAR, MAX_NEIGHBOURS = 20, 2000
"""Nearest images that typicality looks at, and images among which they are looked for, at most."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Images that look alike to the network."""

    rows: Rows
    """Numbers of its images, the most typical first."""


def find_clusters(points: Float32) -> list[Cluster]:
    """Divide images into clusters, the largest first.

    Their number is the one with the largest mean silhouette. It says what looks alike to the network, and no more: a
    class can be in several clusters, and a cluster can hold several classes.

    Args:
        points: on a sphere, shape (n, d).
    Source:
        Rousseeuw, Silhouettes, Journal of Computational and Applied Mathematics 1987.
    """
    if len(points) < 3:
        return [Cluster(rows=np.arange(len(points)))]
    codes = _assign(points, _choose_number(points))
    members = [np.flatnonzero(codes == k) for k in np.unique(codes)]
    ordered = sorted(members, key=lambda rows: (-len(rows), int(rows[0])))
    return [Cluster(rows=rows[np.argsort(-typicality(points, rows), kind="stable")]) for rows in ordered]


def cluster_numbers(clusters: Sequence[Cluster]) -> Rows:
    """Give the number of each image's cluster, the largest is 0, shape (n,)."""
    numbers = np.zeros(sum(len(cluster.rows) for cluster in clusters), np.int64)
    for number, cluster in enumerate(clusters):
        numbers[cluster.rows] = number
    return numbers


def typicality(points: Float32, rows: Rows) -> npt.NDArray[np.float64]:
    """Measure how typical of their cluster images are: one over the mean distance to the nearest ones, shape (m,).

    Source:
        Hacohen, Dekel and Weinshall, Active learning on a budget, ICML 2022, eq. 4.
    """
    others = rows[evenly(len(rows), MAX_NEIGHBOURS)]
    distances = np.sqrt(np.maximum(2 - 2 * points[rows] @ points[others].T, 0))
    num_near = min(NUM_NEAR, len(others) - 1)
    nearest = np.partition(distances, num_near, axis=1)[:, : num_near + 1]  # itself, at 0, is one of them
    return np.asarray(num_near / (nearest.sum(axis=1) + 1e-9), dtype=np.float64)


def _choose_number(points: Float32) -> int:
    some = points[evenly(len(points), MAX_COMPARED)]
    tried = [number for number in NUMBERS if number < len(some)]
    scores = []
    for number in tried:
        codes = _assign(some, number)
        scores.append(silhouette_score(some, codes) if len(np.unique(codes)) > 1 else -1.0)
    return tried[int(np.argmax(scores))]


def _assign(points: Float32, number: int) -> npt.NDArray[np.int64]:
    with threadpool_limits(1):
        centres = KMeans(number, n_init=3, random_state=0).fit(points[evenly(len(points), MAX_FITTED)])
        return np.asarray(centres.predict(points), dtype=np.int64)
