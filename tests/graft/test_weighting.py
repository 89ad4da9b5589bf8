import numpy as np
import pytest

from stages.graft.errors import DataError
from stages.graft.weighting import class_weights
from tests.features import feature_set

TRAIN = feature_set(np.zeros((6, 1)), [0, 0, 0, 0, 1, 1])


def test_by_hand():
    assert class_weights(TRAIN, "none").tolist() == [1, 1]
    assert class_weights(TRAIN, "balanced").tolist() == [6 / (2 * 4), 6 / (2 * 2)]


def test_a_class_without_a_training_image_is_named():
    train = feature_set(np.zeros((2, 1)), [0, 2], ("crack", "hole", "scratch"))
    with pytest.raises(DataError, match="no training image of class 'hole'; check the split"):
        class_weights(train, "none")
