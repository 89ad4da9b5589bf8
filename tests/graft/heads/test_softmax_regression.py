import numpy as np
import pytest

from stages.graft.heads import softmax_regression
from stages.graft.heads.softmax_regression import FINE, SoftmaxRegression

L2 = 0.5


def made_up(rng, num_images=300, num_features=6, num_classes=3, **more):
    """Overlapping classes along correlated features."""
    y = rng.integers(0, num_classes, num_images)
    mixing = rng.normal(size=(num_features, num_features))
    x = (rng.normal(size=(num_images, num_features)) + rng.normal(size=(num_classes, num_features))[y]) @ mixing
    return SoftmaxRegression(x=x.astype(np.float32), y=y, of_image=np.ones(num_images), num_classes=num_classes, **more)


def start(images):
    return np.zeros((images.num_classes, images.x.shape[1] + 1))


def test_value_and_gradient_by_hand():
    images = SoftmaxRegression(
        x=np.array([[1.0], [-1.0]], np.float32), y=np.array([0, 1]), of_image=np.array([1.0, 2.0]), num_classes=2
    )
    point = images.measure(np.zeros((2, 2)), L2)
    assert point.value == pytest.approx(3 * np.log(2))  # two equally likely classes, the second image twice
    np.testing.assert_allclose(point.gradient, [[-1.5, 0.5], [1.5, -0.5]])  # sum of weight * (p - truth) * (x, 1)
    assert point.doubt == pytest.approx(0.5)


def test_the_gradient_is_the_slope_of_the_value(rng):
    images = made_up(rng)
    theta = rng.normal(size=(3, 7)) * 0.1
    step = rng.normal(size=theta.shape)
    ahead, behind = (images.measure(theta + sign * 1e-3 * step, L2).value for sign in (1, -1))
    assert (images.measure(theta, L2).gradient * step).sum() == pytest.approx((ahead - behind) / 2e-3, rel=1e-3)


def test_nothing_lies_below_what_is_found(rng):
    images = made_up(rng)
    theta, converged = images.fit(start(images), L2, 100)
    assert converged
    found = images.measure(theta, L2)
    assert np.abs(found.gradient).max() < 0.2 < 5 < np.abs(images.measure(start(images), L2).gradient).max()
    for _ in range(20):
        assert images.measure(theta + 0.05 * rng.normal(size=theta.shape), L2).value > found.value


def test_rows_in_many_blocks_give_the_same(rng, monkeypatch):
    images = made_up(rng)
    whole = images.measure(np.ones((3, 7)) * [[1], [2], [3]], L2)
    monkeypatch.setattr(softmax_regression, "ROWS_AT_ONCE", 7)
    parts = images.measure(whole.theta, L2)
    assert parts.value == pytest.approx(whole.value)
    np.testing.assert_allclose(parts.gradient, whole.gradient, rtol=1e-4, atol=1e-3)


def test_a_weight_of_two_is_an_image_twice(rng):
    images = made_up(rng, num_images=60)
    rows = np.concatenate([np.arange(60), np.arange(20)])
    twice = SoftmaxRegression(x=images.x[rows], y=images.y[rows], of_image=np.ones(80), num_classes=3)
    weighted = SoftmaxRegression(x=images.x, y=images.y, of_image=np.where(np.arange(60) < 20, 2.0, 1.0), num_classes=3)
    np.testing.assert_allclose(weighted.fit(start(images), L2, 100)[0], twice.fit(start(images), L2, 100)[0], atol=0.01)


@pytest.mark.parametrize("l2", [1e4, 1e-6])
def test_strong_and_weak_penalties_converge(rng, l2):
    images = made_up(rng, num_images=30, num_features=40)  # every image can be right
    assert images.fit(start(images), l2, 200)[1]


def test_a_coarser_fit_takes_fewer_steps_and_ends_near(rng):
    fine, coarse = made_up(np.random.default_rng(1)), made_up(np.random.default_rng(1), tolerance=1e-3)
    values = [one.measure(one.fit(start(one), L2, 100)[0], L2).value for one in (fine, coarse)]
    assert values[0] <= values[1] < values[0] + 300 * 0.01
    assert fine.tolerance == FINE
