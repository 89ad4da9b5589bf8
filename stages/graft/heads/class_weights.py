"""How much each class counts while a head is fitted and chosen."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.heads.features import FeatureSet
from stages.graft.metrics.classification import Labels

ClassWeight = Literal["none", "balanced"]
ClassWeights = npt.NDArray[np.float64]
"""One weight per class, shape (c,)."""


def class_weights(train: FeatureSet, class_weight: ClassWeight) -> ClassWeights:
    """Weigh the classes.

    Args:
        train: the training images.
        class_weight: none counts every image alike; balanced every class, as scikit-learn does: n / (c * images of it).
    Raises:
        DataError: a class has no training image.
    """
    counts = np.bincount(train.y, minlength=len(train.classes))
    missing = [name for name, count in zip(train.classes, counts, strict=True) if not count]
    if missing:
        raise DataError(f"no training image of class {', '.join(map(repr, missing))}; check the split")
    if class_weight == "none":
        return np.ones(len(counts))
    return len(train.y) / (len(counts) * counts)


Balance = Literal["none", "balanced", "sampled"]
"""none: every image counts alike; balanced: every class does, in the loss; sampled: every class comes up as often."""


def loss_weights(y: Labels, num_classes: int, balance: Balance) -> npt.NDArray[np.float32]:
    """Weigh the classes in the loss.

    Args:
        y: class indices of the training images, shape (n,).
        num_classes: c.
        balance: balanced gives n / (c * images of the class), the others 1.
    Returns:
        shape (c,).
    Raises:
        DataError: a class has no training image.
    """
    counts = np.bincount(y, minlength=num_classes)
    if not counts.all():
        raise DataError(f"no training image of {int((counts == 0).sum())} of {num_classes} classes; check the split")
    weights = len(y) / (num_classes * counts) if balance == "balanced" else np.ones(num_classes)
    return weights.astype(np.float32)


def epoch_order(y: Labels, balance: Balance, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Draw the rows of one epoch, in order: a function of seed and epoch alone.

    Args:
        y: class indices of the training images, shape (n,).
        balance: sampled gives every class n / c rows, rounded up: images of small classes come up several times, those
            of large ones take turns over the epochs; the others give every row once.
        seed: of the training.
        epoch: its number.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(y))
    if balance != "sampled":
        return order
    by_class = [order[y[order] == k] for k in np.unique(y)]
    per_class = -(-len(y) // len(by_class))
    return rng.permutation(np.concatenate([np.resize(rows, per_class) for rows in by_class]))
