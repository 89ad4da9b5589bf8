"""Classes of different sizes: weights and orders computed by hand."""

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.class_weights import class_weights, epoch_order

Y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
CLASSES = ("crack", "hole", "scratch")


def test_weights_by_hand():
    balanced = class_weights(Y, CLASSES, "balanced")
    assert balanced.tolist() == [9 / 18, 9 / 6, 9 / 3]
    assert balanced[Y].sum() == pytest.approx(len(Y))
    for balance in ("none", "sampled"):
        np.testing.assert_array_equal(class_weights(Y, CLASSES, balance), np.ones(3), strict=True)


@pytest.mark.parametrize("balance", ["none", "balanced", "sampled"])
def test_a_class_without_a_training_image_is_named(balance):
    with pytest.raises(DataError, match="no training image of class 'hole', 'stain'; check the split"):
        class_weights(np.array([0, 2]), (*CLASSES, "stain"), balance)


@pytest.mark.parametrize("balance", ["none", "balanced"])
def test_every_image_is_in_an_epoch_once(balance):
    assert sorted(epoch_order(Y, balance, 0, 1)) == list(range(9))


def test_sampled_gives_every_class_its_share_and_uses_all_its_images():
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
