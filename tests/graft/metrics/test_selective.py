import numpy as np
import pytest

from stages.graft.metrics.selective import MAX_ROWS, choose_threshold, risk_coverage_table, selective_accuracy

CONFIDENCE = np.array([0.6, 0.9, 0.8, 0.7])
CORRECT = np.array([True, True, True, False])
# From the surest on: 1 right, 2 right, 2 of 3, 3 of 4; expected 1 - (e + 1) / (k + 1): 1/2, 2/3, 1/2, 3/5.


@pytest.mark.parametrize(
    ("target", "confidence", "coverage", "accuracy", "reached"),
    [
        (0.6, 0.0, 1.0, 0.6, True),  # all four are good enough: never unsure
        (0.61, 0.75, 0.5, 2 / 3, True),  # half-way between 0.8 and 0.7
        (0.9, 0.75, 0.5, 2 / 3, False),  # four images cannot show 90%: the best there is
    ],
)
def test_by_hand(target, confidence, coverage, accuracy, reached):
    threshold = choose_threshold(CONFIDENCE, CORRECT, target)
    assert threshold.confidence == pytest.approx(confidence)
    assert (threshold.coverage, threshold.accuracy) == pytest.approx((coverage, accuracy))
    assert threshold.reached is reached


@pytest.mark.parametrize(("num_images", "reached"), [(98, False), (99, True)])
def test_ninety_nine_right_answers_are_the_fewest_that_show_99_percent(num_images, reached):
    threshold = choose_threshold(np.full(num_images, 0.9), np.ones(num_images, dtype=bool), 0.99)
    assert threshold.reached is reached
    assert threshold.coverage == 1


def test_equal_confidences_are_never_torn_apart():
    threshold = choose_threshold(np.array([0.9, 0.9, 0.5, 0.5]), np.array([True, True, True, False]), 0.65)
    assert threshold.confidence == pytest.approx(0.7)
    assert choose_threshold(np.full(4, 0.5), np.array([True, False, False, False]), 0.99).coverage == 1


@pytest.mark.parametrize("target", [0.9, 0.95, 0.98])
def test_on_average_the_answers_are_as_accurate_as_wished(target, rng):
    """Confidences between 0.5 and 1 that say how likely an answer is right: above t, (1 + t) / 2 of them are."""
    accuracies, coverages = [], []
    for _ in range(50):
        confidence = rng.uniform(0.5, 1, 5000)
        threshold = choose_threshold(confidence, rng.random(5000) < confidence, target)
        accuracies.append((1 + threshold.confidence) / 2)
        coverages.append(threshold.coverage)
    assert np.mean(accuracies) == pytest.approx(target, abs=0.004)
    assert np.mean(coverages) == pytest.approx(4 * (1 - target), rel=0.1)


def test_shuffled_images_give_the_same_threshold(rng):
    confidence, correct = rng.random(100).round(1), rng.random(100) < 0.8
    order = rng.permutation(100)
    assert choose_threshold(confidence, correct, 0.8) == choose_threshold(confidence[order], correct[order], 0.8)


def test_risk_and_coverage_by_hand():
    table = risk_coverage_table(CONFIDENCE, CORRECT)
    assert table["coverage"].to_list() == [0.25, 0.5, 0.75, 1]
    assert table["risk"].to_list() == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert table["confidence"].to_list() == [0.9, 0.8, 0.7, 0.6]


def test_a_long_table_is_thinned_and_keeps_its_end(rng):
    correct = rng.random(5000) < 0.7
    table = risk_coverage_table(rng.random(5000), correct)
    assert len(table) == MAX_ROWS
    assert table["coverage"].is_monotonic_increasing
    assert table.iloc[-1][["coverage", "risk"]].to_list() == pytest.approx([1, 1 - correct.mean()])


def test_no_answer_has_no_accuracy():
    assert selective_accuracy(np.zeros(4, dtype=bool), CORRECT) is None
    assert selective_accuracy(np.array([True, False, False, True]), CORRECT) == 0.5
