"""A map of the features in two dimensions: images that are similar to the network are close to each other on it.

Letters: n images, d features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.heads.head import Float32
from stages.graft.heads.standardisation import fit_standardisation

NUM_COMPONENTS = 50
"""Number of principal components that t-SNE starts from."""

PERPLEXITY = 30.0
"""Perplexity of t-SNE, about the number of neighbours that stay close; lower when there are few images."""

NUM_ITERATIONS, ANGLE = 500, 0.65
"""Of t-SNE: steps, and how coarse its sums over far points are; scikit-learn's 1000 and 0.5 take longer."""

NUM_DIGITS = 3
"""Decimal digits of the coordinates; more are not visible."""

Coordinates = npt.NDArray[np.float64]
"""Shape (n, 2)."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """Coordinates of n images."""

    pca: Coordinates
    """Along the two main directions; distances far apart mean something."""
    tsne: Coordinates
    """By t-SNE; neighbours mean something, distances and the size of clusters do not."""
    explained: float
    """Share of the variance in the two main directions, [0, 1]."""


def map_table(feature_map: Map, images: pd.DataFrame, predicted: Sequence[str]) -> pd.DataFrame:
    """List n images with their coordinates and the class that a head fitted without the image gives it.

    Returns:
        Columns id, label, predicted, split, tsne_x, tsne_y, pca_x, pca_y.
    """
    table = images[["id", "label"]].assign(predicted=list(predicted), split=images["split"])
    for name, coordinates in (("tsne", feature_map.tsne), ("pca", feature_map.pca)):
        table[[f"{name}_x", f"{name}_y"]] = coordinates.round(NUM_DIGITS)
    return table


def make_map(x: Float32, seed: int) -> Map:
    """Compute coordinates from features, shape (n, d), n at least 3; PCA and t-SNE take the seed.

    Where all rows are equal, such as those of blank images, all points are at the origin: t-SNE would end the process.

    Source:
        van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008; Kobak and Berens, The art of using t-SNE,
        Nature Communications 2019, for the start from the main directions.
    """
    with threadpool_limits(1):  # sums in one order, the same bits whatever the number of cores
        z = fit_standardisation(x).apply(x).astype(np.float64)
        if not np.ptp(z, axis=0).any():
            origin = np.zeros((len(z), 2))
            return Map(pca=origin, tsne=origin, explained=0.0)
        pca = PCA(n_components=min(NUM_COMPONENTS, *z.shape), svd_solver="randomized", random_state=seed)
        components = pca.fit_transform(z)
        perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
        settings = {"perplexity": perplexity, "init": "pca", "max_iter": NUM_ITERATIONS, "angle": ANGLE}
        tsne = TSNE(**settings, random_state=seed, n_jobs=1).fit_transform(components)
    explained = float(pca.explained_variance_ratio_[:2].sum())
    return Map(pca=components[:, :2], tsne=tsne.astype(np.float64), explained=explained)
