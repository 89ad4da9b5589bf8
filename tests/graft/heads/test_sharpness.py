import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.sharpness import choose_sharpness
from stages.graft.metrics.classification import log_loss

ONES = np.ones(2)


def test_the_factor_makes_confidence_agree_with_the_share_of_correct_images():
    y = np.array([0] * 300 + [1] * 100)
    scores = np.tile([[100.0, 0.0]], (400, 1))  # 3 of 4 are correct: p = 3/4 where the factor is ln(3) / 100
    assert choose_sharpness(scores, np.zeros(2), y, ONES) == pytest.approx(np.log(3) / 100, rel=0.06)


def test_the_choice_has_the_lowest_log_loss(rng):
    y = rng.integers(0, 3, 500)
    scores = 50 * (np.eye(3)[y] + rng.normal(size=(500, 3)))
    factor = choose_sharpness(scores, np.zeros(3), y, np.ones(3))
    losses = [log_loss(f * scores, y) for f in (factor / 1.3, factor, factor * 1.3)]
    assert losses.index(min(losses)) == 1


@pytest.mark.parametrize("num_images", [10, 1000])
def test_images_without_an_error_leave_half_an_error(num_images):
    scores, y = np.tile([[1.0, 0.0]], (num_images, 1)), np.zeros(num_images, dtype=np.int64)
    factor = choose_sharpness(scores, np.zeros(2), y, ONES)
    assert 1 / (1 + np.exp(factor)) == pytest.approx(0.5 / (num_images + 1), rel=0.5)


def test_offsets_are_added_after_the_factor():
    y = np.array([0, 0, 0, 1])
    scores = np.zeros((4, 2))
    assert choose_sharpness(scores, np.log([0.75, 0.25]), y, ONES) == choose_sharpness(scores, np.zeros(2), y, ONES)


def test_weights_count_images():
    scores = np.array([[1.0, 0.0]] * 4)
    y, weights = np.array([0, 0, 0, 1]), np.array([1.0, 3.0])
    assert choose_sharpness(scores, np.zeros(2), y, weights) < 1e-5  # as many wrong as right: no confidence


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="two training images"):
        choose_sharpness(np.zeros((0, 2)), np.zeros(2), np.zeros(0, np.int64), ONES)
