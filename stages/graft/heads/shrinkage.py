"""Shrinkage of a covariance towards a multiple of the identity, so that it has an inverse however few rows there are.

scikit-learn's `ledoit_wolf` gives the same; evaluate would load it, and SciPy, for this alone.
Letters: n rows, d columns.
"""

import numpy as np
import numpy.typing as npt

MIN_SHRINKAGE = 1e-6
"""Least shrinkage: rows that vary in few directions would give a covariance without an inverse."""

Float64 = npt.NDArray[np.float64]


def ledoit_wolf_shrinkage(product: Float64, squared_lengths: Float64, num_columns: int) -> float:
    """Compute the share of the target in the mixture of target and sample covariance that is nearest to the true one.

    Args:
        product: x @ x.T or x.T @ x of rows x around 0, whichever is smaller: their sums of squares are the same.
        squared_lengths: of the rows, shape (n,).
        num_columns: d.
    Returns:
        The share, from MIN_SHRINKAGE to 1; the target is the mean variance times the identity.
    Source:
        Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate
        Analysis 2004, section 3.2.
    """
    n = len(squared_lengths)
    squares = np.square(product / n).sum()  # of the sample covariance
    distance = squares - (squared_lengths.sum() / n) ** 2 / num_columns
    noise = (np.square(squared_lengths).mean() - squares) / n
    return 1.0 if n == 1 or distance <= 0 else float(min(1.0, max(noise / distance, MIN_SHRINKAGE)))
