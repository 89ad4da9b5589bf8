"""How much each class counts while a head is fitted and chosen."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.graft.errors import DataError
from stages.graft.features import FeatureSet

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
