import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage as reference

from stages.graft.heads.shrinkage import MIN_SHRINKAGE, ledoit_wolf_shrinkage


def shrinkage(x, product=None):
    product = x.T @ x if product is None else product
    return ledoit_wolf_shrinkage(product, np.square(x).sum(axis=1), x.shape[1])


@pytest.mark.parametrize("shape", [(200, 5), (20, 30), (3, 50), (2, 4)])
def test_it_is_that_of_scikit_learn_from_either_product(rng, shape):
    x = rng.normal(size=shape) * np.linspace(1, 3, shape[1])
    expected = reference(x, assume_centered=True)
    assert shrinkage(x) == pytest.approx(expected, rel=1e-9)
    assert shrinkage(x, x @ x.T) == pytest.approx(expected, rel=1e-9)


def test_limits():
    assert shrinkage(np.array([[1.0, 2.0]])) == 1  # one row tells nothing of a spread
    assert shrinkage(np.array([[1.0, 0.0], [0.0, 1.0]])) == 1  # equal variances already
    assert shrinkage(np.tile([[3.0, 0.0], [-3.0, 0.0]], (50, 1))) == MIN_SHRINKAGE  # every row says the same
