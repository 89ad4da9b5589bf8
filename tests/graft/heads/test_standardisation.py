import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.standardisation import SHRINKAGE, fit_standardisation


def test_by_hand():
    x = np.array([[0, 5, 10], [2, 5, 30]], dtype=np.float32)  # deviations 1, 0 and 10
    standardisation = fit_standardisation(x)
    floor = SHRINKAGE * (11 / 3) ** 2
    assert standardisation.mean.tolist() == [1, 5, 20]
    np.testing.assert_allclose(standardisation.scale, np.sqrt([1 + floor, floor, 100 + floor]))
    np.testing.assert_allclose(standardisation.apply(x)[1], [1, 0, 10] / standardisation.scale, rtol=1e-6)


def test_a_folded_layer_takes_raw_features(rng):
    x = (rng.normal(size=(50, 8)) * 10.0 ** rng.integers(-3, 3, 8) + 5).astype(np.float32)
    weight, bias = rng.normal(size=(3, 8)), rng.normal(size=3)
    standardisation = fit_standardisation(x)
    raw_weight, raw_bias = standardisation.fold(weight, bias)
    assert raw_weight.dtype == raw_bias.dtype == np.float32
    np.testing.assert_allclose(x @ raw_weight.T + raw_bias, standardisation.apply(x) @ weight.T + bias, atol=1e-4)


def test_constant_features_become_zero():
    standardisation = fit_standardisation(np.full((4, 3), 7, dtype=np.float32))
    assert standardisation.apply(np.full((4, 3), 7, dtype=np.float32)).tolist() == [[0, 0, 0]] * 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_features_that_are_no_numbers_are_refused(value):
    with pytest.raises(DataError, match="a feature is NaN or infinite"):
        fit_standardisation(np.array([[1, value], [2, 3]], dtype=np.float32))
