"""Standardisation: features get mean 0 and a variance of about 1; a layer's weights can include it.

Letters: n images, d features.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.heads.head import Float32, Layer, Softsign
from stages.graft.storage.arrays import row_blocks

SHRINKAGE = 0.1
"""Share of the squared mean deviation that is added to every variance.

A feature that is nearly always 0 has a tiny deviation in a few images; divided by it, the feature would dominate the
others. On 1,200 images of steel, with 5 training images a class, the features of the bundled network gave 90.2% (log
loss 0.30) with it and 87.0% (0.69) without; with 140 a class, 98.9% in both cases. It also avoids a division by 0 for a
constant feature.
"""


@dataclass(frozen=True, kw_only=True)
class Standardisation:
    """Subtracts `mean` and divides by `scale`."""

    mean: npt.NDArray[np.float64]
    """Mean of each feature, shape (d,)."""
    scale: npt.NDArray[np.float64]
    """Divisor of each feature, shape (d,), above 0."""

    def apply(self, x: Float32) -> Float32:
        """Standardise features, shape (n, d)."""
        return np.asarray((x - self.mean.astype(np.float32)) / self.scale.astype(np.float32))

    def fold(self, weight: npt.ArrayLike, bias: npt.ArrayLike) -> Layer:
        """Turn a layer for standardised features, (num_out, d) and (num_out,), into the same layer for raw features."""
        raw = np.asarray(weight, dtype=np.float64) / self.scale
        return raw.astype(np.float32), (np.asarray(bias, dtype=np.float64) - raw @ self.mean).astype(np.float32)

    def to_softsign(self) -> Softsign:
        """Make the softsign of standardised features, for raw features."""
        return Softsign(weight=(1 / self.scale).astype(np.float32), bias=(-self.mean / self.scale).astype(np.float32))


def fit_standardisation(x: Float32) -> Standardisation:
    """Measure the mean and the scale of training features, shape (n, d); a DataError if one is not finite."""
    blocks = list(row_blocks(len(x)))
    mean = sum(x[rows].sum(axis=0, dtype=np.float64) for rows in blocks) / len(x)
    squares = (np.square(x[rows] - mean.astype(np.float32)).sum(axis=0, dtype=np.float64) for rows in blocks)
    variance = sum(squares) / len(x)
    if not np.isfinite(variance).all():
        raise DataError("a feature is NaN or infinite; check the backbone's weights and preprocessing")
    floor = SHRINKAGE * np.sqrt(variance).mean() ** 2
    return Standardisation(mean=mean, scale=np.sqrt(variance + floor) if floor else np.ones_like(mean))
