import numpy as np
import pytest

from stages.graft.evaluation.forecast import expect_accuracy, expect_gain, expect_labels, fit_curves

SIZES = np.array([50.0, 100.0, 200.0, 400.0])


def draws(accuracies, num_images=4000, seed=0):
    """Answers of many images that are right with these probabilities."""
    chances = np.random.default_rng(seed).random(num_images)
    return np.array([(chances < accuracy).astype(float) for accuracy in accuracies])


def power_law(size, factor=4.0, exponent=0.6):
    return 1 - factor * size**-exponent


def test_a_power_law_goes_on():
    curves = fit_curves(SIZES, draws(power_law(SIZES)), 0)
    expected = expect_accuracy(curves, 800)
    assert expected.low < power_law(800) < expected.high
    assert expected.middle == pytest.approx(power_law(800), abs=0.015)
    gain = expect_gain(curves, 400, 800)
    assert gain.middle == pytest.approx(power_law(800) - power_law(400), abs=0.015)


def test_labels_for_a_target():
    curves = fit_curves(SIZES, draws(power_law(SIZES)), 0)
    found = expect_labels(curves, 400, power_law(800))
    assert 0.5 < found.middle / 800 < 2
    assert found.low <= found.middle <= found.high


def test_cannot_say_where_the_curve_is_flat_or_the_target_too_high():
    flat = fit_curves(SIZES, draws(np.full(4, 0.8)), 0)
    assert expect_labels(flat, 400, 0.9) is None
    assert expect_labels(fit_curves(SIZES, draws(power_law(SIZES)), 0), 400, 0.99) is None


def test_more_images_make_a_narrower_interval():
    few, many = (expect_accuracy(fit_curves(SIZES, draws(power_law(SIZES), n), 0), 800) for n in (100, 4000))
    assert few.high - few.low > many.high - many.low


def test_without_an_error_there_may_still_be_one():
    curves = fit_curves(SIZES, np.ones((4, 60)), 0)
    assert expect_accuracy(curves, 800).low < 0.99


def test_accuracy_never_falls_with_more_labels():
    curves = fit_curves(SIZES, draws([0.8, 0.79, 0.81, 0.8]), 0)
    assert (curves.accuracy_at(1600) >= curves.accuracy_at(800) - 1e-9).all()
