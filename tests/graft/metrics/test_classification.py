import numpy as np
import pytest

from stages.graft.metrics.classification import (
    accuracy,
    area_under_roc,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    softmax,
    wilson_interval,
)

Y = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 1])


def test_six_values_by_hand():
    assert accuracy(PREDICTED, Y) == pytest.approx(4 / 6)
    confusion = confusion_matrix(PREDICTED, Y, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 2, 0], [0, 1, 0]]
    a, b, c = class_scores(confusion, ["a", "b", "c"])
    assert (a.precision, a.recall, a.f1, a.num_images) == pytest.approx((1, 2 / 3, 4 / 5, 3))
    assert (b.precision, b.recall, b.f1, b.num_images) == pytest.approx((1 / 2, 1, 2 / 3, 2))
    assert (c.precision, c.recall, c.f1, c.num_images) == (0, 0, 0, 1)  # never predicted: 0, not NaN


def test_log_loss_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    y = np.array([0, 2])
    assert log_loss(logits, y) == pytest.approx((np.log(2) + np.log(10)) / 2)
    weights = np.array([3.0, 1.0, 1.0])
    assert log_loss(logits, y, weights) == pytest.approx((3 * np.log(2) + np.log(10)) / 4)


def test_softmax_and_log_loss_do_not_overflow():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32)
    assert softmax(logits).tolist() == [[1, 0], [0, 1]]
    assert log_loss(logits, np.array([0, 0])) == 5000


def test_adding_a_constant_to_an_images_logits_changes_nothing(rng):
    logits, y = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    shifted = logits + rng.normal(size=(20, 1)) * 100
    np.testing.assert_allclose(softmax(shifted), softmax(logits))
    assert log_loss(shifted, y) == pytest.approx(log_loss(logits, y))


@pytest.mark.parametrize(
    ("num_correct", "num_images", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_against_published_values(num_correct, num_images, low, high):
    assert wilson_interval(num_correct, num_images) == pytest.approx((low, high), abs=5e-5)


def test_a_higher_level_gives_a_wider_interval():
    low, high = wilson_interval(8, 10, 0.99)
    assert low < 0.4902
    assert high > 0.9433


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]])
    y = np.array([0, 1, 1, 1])
    # Of ten bins, (0.8, 0.9] has confidence 0.9 and accuracy 0.5; (0.5, 0.6] 0.6 and 1; (0.6, 0.7] 0.65 and 1.
    expected = 2 / 4 * 0.4 + 1 / 4 * 0.4 + 1 / 4 * 0.35
    assert expected_calibration_error(probabilities, y, 10) == pytest.approx(expected)


def test_a_certain_and_right_classifier_is_calibrated():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0


def test_relabelled_classes_and_shuffled_rows_give_the_same_scores(rng):
    y, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    names, order, renamed = np.array(["a", "b", "c", "d"]), rng.permutation(50), np.array([2, 0, 3, 1])
    scores = class_scores(confusion_matrix(predicted, y, 4), names.tolist())
    again = class_scores(
        confusion_matrix(renamed[predicted[order]], renamed[y[order]], 4), names[np.argsort(renamed)].tolist()
    )
    assert sorted(again, key=lambda score: score.label) == scores


def test_area_under_roc_by_hand():
    assert area_under_roc(np.array([1.0, 2.0]), np.array([3.0, 2.0, 0.0])) == pytest.approx((2 + 1.5 + 0) / 6)
    assert area_under_roc(np.array([1.0]), np.array([2.0])) == 1


def test_area_under_roc_depends_on_the_order_alone(rng):
    known, unknown = rng.normal(size=30), rng.normal(size=20) + 1
    assert area_under_roc(np.exp(known), np.exp(unknown)) == area_under_roc(known, unknown)
    assert area_under_roc(unknown, known) == pytest.approx(1 - area_under_roc(known, unknown))
