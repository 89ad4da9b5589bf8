import numpy as np
import pytest

from stages.graft.metrics.calibration import PRIOR_DEVIATION, fit_temperature, reliability_table
from stages.graft.metrics.classification import log_loss, softmax


@pytest.fixture
def honest(rng):
    """2,000 images whose labels are drawn from the probabilities that the logits stand for."""
    logits = rng.normal(size=(2000, 4)) * 2
    y = np.array([rng.choice(4, p=p) for p in softmax(logits)])
    return logits.astype(np.float32), y


def test_a_calibrated_classifier_is_left_as_it_is(honest):
    assert fit_temperature(*honest) == 1


@pytest.mark.parametrize("factor", [0.3, 3, 10])
def test_a_factor_on_the_logits_is_found(honest, factor):
    logits, y = honest
    assert fit_temperature(factor * logits, y) == pytest.approx(factor, rel=0.06)


def test_the_temperature_is_the_lowest_point_of_log_loss_and_prior(honest):
    logits, y = 3 * honest[0], honest[1]

    def cost(temperature):
        return len(y) * log_loss(logits / temperature, y) + np.log(temperature) ** 2 / (2 * PRIOR_DEVIATION**2)

    best = fit_temperature(logits, y)
    assert cost(best) < min(cost(best * 1.001), cost(best / 1.001))


def test_all_images_right_do_not_make_the_classifier_certain():
    logits = np.tile(np.array([1, 0], dtype=np.float32), (500, 1))
    temperature = fit_temperature(logits, np.zeros(500, dtype=int))
    assert 0.1 < temperature < 0.5
    few = logits[:3]  # 0.94 nats in all: nothing to tell a temperature by
    assert fit_temperature(few, np.zeros(3, dtype=int)) == 1


def test_order_and_constants_do_not_matter(honest, rng):
    logits, y = 3 * honest[0], honest[1]
    order = rng.permutation(len(y))
    moved = (logits + rng.normal(size=(len(y), 1)).astype(np.float32))[order]
    assert fit_temperature(moved, y[order]) == pytest.approx(fit_temperature(logits, y), rel=1e-4)


def test_without_images_nothing_changes():
    assert fit_temperature(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=int)) == 1


def test_reliability_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [0.35, 0.65]])
    table = reliability_table(probabilities, np.array([0, 1, 1, 1]), np.arange(4), 0.95)
    # Of fifteen bins, (13/15, 14/15] has two images, (8/15, 9/15] and (9/15, 10/15] one each.
    assert table["confidence"].to_list() == pytest.approx([0.6, 0.65, 0.91])
    assert table["accuracy"].to_list() == [1, 1, 0.5]
    assert table["num_images"].to_list() == [1, 1, 2]
    assert table["accuracy_low"].iloc[2] == pytest.approx(1 - table["accuracy_high"].iloc[2])
    assert (table["accuracy_low"] < table["accuracy"]).all()
