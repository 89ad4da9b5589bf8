"""How classes of different sizes are treated while a head or a network is trained."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.metrics.classification import Labels

ClassWeight = Literal["none", "balanced"]
"""none: every image has the same weight; balanced: every class has."""

Balance = Literal["none", "balanced", "sampled"]
"""As ClassWeight; sampled: every class has the same number of images in an epoch."""

ClassWeights = npt.NDArray[np.float64]
"""Weight of each class, shape (c,)."""


def class_weights(y: Labels, classes: Sequence[str], balance: Balance) -> ClassWeights:
    """Compute the weight of each class in the loss.

    Args:
        y: class indices of the training images, shape (n,).
        classes: names of the c classes.
        balance: balanced gives n / (c * images of the class), as in scikit-learn; the others give 1.
    Raises:
        DataError: a class has no training image.
    """
    counts = np.bincount(y, minlength=len(classes))
    missing = [repr(name) for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        raise DataError(f"no training image of class {', '.join(missing)}; check the split")
    return len(y) / (len(counts) * counts) if balance == "balanced" else np.ones(len(counts))


def epoch_order(y: Labels, balance: Balance, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Draw the rows of one epoch in random order; the result depends only on the arguments.

    Args:
        y: class indices of the training images, shape (n,).
        balance: sampled gives every class n / c rows, rounded up: images of small classes are repeated, and images of
            large classes take turns over the epochs. The others give every row once.
        seed: seed of the training.
        epoch: number of the epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(y))
    if balance != "sampled":
        return order
    by_class = [order[y[order] == k] for k in np.unique(y)]
    per_class = -(-len(y) // len(by_class))
    return rng.permutation(np.concatenate([np.resize(rows, per_class) for rows in by_class]))
