"""The factor that turns scores of the right order but of any size into logits. Letters: n images, c classes."""

import numpy as np

from stages.graft.core.errors import DataError
from stages.graft.heads.class_weights import ClassWeights
from stages.graft.metrics.classification import Float, Labels, softmax

SHARPNESS = np.geomspace(1e-6, 10, 141)
"""Factors to try; each is 12% larger than the one before."""


def choose_sharpness(scores: Float, offsets: Float, y: Labels, weights: ClassWeights) -> float:
    """Find the factor of the scores with the lowest log loss, on images that the scores were not fitted to.

    When every image is classified correctly, the log loss falls as the factor grows without end. So a share of each
    target goes to the other classes, half an image in all: an error rate that may well show no error in n images.

    Args:
        scores: shape (n, c).
        offsets: what is added to each class after the factor, shape (c,).
        y: class indices, shape (n,).
        weights: weight of each class in the loss, shape (c,).
    Raises:
        DataError: there is no image.
    Source:
        Platt, Probabilistic outputs for support vector machines, 1999, section 2.2 (targets below 1); the share is of
        Jeffreys' prior.
    """
    if not len(y):
        raise DataError("no image is left to choose with: give a class two training images, or validation images")
    num_classes, error = scores.shape[1], 0.5 / (len(y) + 1)
    targets = np.where(np.eye(num_classes)[y] > 0, 1 - error, error / max(num_classes - 1, 1)) * weights[y][:, None]
    losses = [-(targets * np.log(softmax(factor * scores + offsets) + 1e-300)).sum() for factor in SHARPNESS]
    return float(SHARPNESS[int(np.argmin(losses))])
