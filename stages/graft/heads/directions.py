"""Main directions of features that many images without labels show, for heads with few labels.

Letters: n images with a label, m without one, d features, k directions.
"""

import numpy as np

from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32, Softsign

NUM_DIRECTIONS = 64
"""Directions that are kept."""

MAX_LABELS = 100
"""Labels up to which they are used: more labels tell by themselves which directions matter."""

MAX_FITTED = 5000
"""Images that the directions are fitted to, at most."""


def main_directions(train: FeatureSet, softsign: Softsign) -> Float32 | None:
    """Find the directions in which limited features of all images vary most, orthonormal columns, shape (d, k).

    Within the few labelled images, chance makes many directions look as if they told the classes apart: discriminants
    of the main ones are right more often (`stages.benchmarks.compare_suggestions` measures it). To standardise on all
    images as well brings discriminants nothing, and makes logistic regression and prototypes worse.

    Args:
        train: with the features of images without labels.
        softsign: the limits.
    Returns:
        None where there are more labels than MAX_LABELS, or more than images without one.
    """
    others = train.unlabelled
    if others is None or len(train.y) > MAX_LABELS or len(train.y) > len(others):
        return None
    from sklearn.decomposition import PCA  # takes a while, and a head with many labels does without

    x = softsign.apply(np.concatenate([train.x, others[:: -(-len(others) // MAX_FITTED)]]))
    number = min(NUM_DIRECTIONS, *x.shape)
    if not np.ptp(x, axis=0).any():
        return None
    pca = PCA(n_components=number, svd_solver="randomized", random_state=0).fit(x)
    return np.ascontiguousarray(pca.components_.T, dtype=np.float32)
