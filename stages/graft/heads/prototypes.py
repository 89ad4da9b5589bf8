"""Class means as a head: the predicted class is the one whose mean is nearest to the standardised features.

Letters: n images, d features, c classes.
"""

import numpy as np

from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.sharpness import choose_sharpness
from stages.graft.heads.standardisation import fit_standardisation


def fit_prototypes(train: FeatureSet, val: FeatureSet, weights: ClassWeights) -> tuple[Head, dict[str, float]]:
    """Compute the class means, and the linear head that gives the same ranking and the same probabilities.

    Squared distances in many dimensions are large: every probability would be near 0 or 1. They are multiplied by the
    factor that gives the lowest validation log loss, which does not change the ranking.

    Args:
        train: images of the means; every class has at least one.
        val: images that choose the factor.
        weights: weight of each class in the validation log loss, shape (c,).
    Returns:
        The head, and the factor for the report.
    Source:
        Snell et al., Prototypical Networks, NeurIPS 2017, eq. 8.
    """
    standardisation = fit_standardisation(train.x)
    x = standardisation.apply(train.x)
    means = np.stack([x[train.y == k].mean(axis=0, dtype=np.float64) for k in range(len(train.classes))])  # (c, d)
    weight, bias = 2 * means, -np.square(means).sum(axis=1)
    logits = standardisation.apply(val.x) @ weight.T + bias
    factor = choose_sharpness(logits, np.zeros(len(train.classes)), val.y, weights)
    layer = standardisation.fold(factor * weight, factor * bias)
    return Head(kind="prototype", classes=train.classes, layers=(layer,)), {"sharpness": round(factor, 9)}
