"""Classes of different sizes: weights and orders by hand."""

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.class_weights import class_weights, epoch_order, loss_weights
from tests.support.features import feature_set

Y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])


def test_weights_by_hand():
    np.testing.assert_allclose(loss_weights(Y, 3, "balanced"), [9 / 18, 9 / 6, 9 / 3], rtol=1e-6)
    assert loss_weights(Y, 3, "balanced")[Y].sum() == pytest.approx(len(Y))
    for balance in ("none", "sampled"):
        np.testing.assert_array_equal(loss_weights(Y, 3, balance), np.ones(3, np.float32), strict=True)


def test_a_class_without_images_is_refused():
    with pytest.raises(DataError, match="no training image of 2 of 5 classes; check the split"):
        loss_weights(Y, 5, "none")


@pytest.mark.parametrize("balance", ["none", "balanced"])
def test_every_image_comes_up_once(balance):
    assert sorted(epoch_order(Y, balance, 0, 1)) == list(range(9))


def test_sampled_gives_every_class_its_share_and_takes_turns_within_it():
    orders = [epoch_order(Y, "sampled", 0, epoch) for epoch in range(1, 30)]
    assert all(np.bincount(Y[order]).tolist() == [3, 3, 3] for order in orders)
    assert all(sorted(np.bincount(order, minlength=9)[6:8]) == [1, 2] for order in orders)  # two images, three times
    assert {int(row) for order in orders for row in order} == set(range(9))


@pytest.mark.parametrize("balance", ["none", "sampled"])
def test_an_order_is_a_function_of_seed_and_epoch_alone(balance):
    first = epoch_order(Y, balance, 3, 4)
    np.random.seed(0)  # noqa: NPY002 (what the order must not depend on)
    np.testing.assert_array_equal(epoch_order(Y, balance, 3, 4), first)
    assert any((epoch_order(Y, balance, *other) != first).any() for other in [(3, 5), (4, 4)])


TRAIN = feature_set(np.zeros((6, 1)), [0, 0, 0, 0, 1, 1])


def test_by_hand():
    assert class_weights(TRAIN, "none").tolist() == [1, 1]
    assert class_weights(TRAIN, "balanced").tolist() == [6 / (2 * 4), 6 / (2 * 2)]


def test_a_class_without_a_training_image_is_named():
    train = feature_set(np.zeros((2, 1)), [0, 2], ("crack", "hole", "scratch"))
    with pytest.raises(DataError, match="no training image of class 'hole'; check the split"):
        class_weights(train, "none")
