"""Paired comparison: counts and intervals computed by hand, published values, and the decision, also for a tie."""

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.metrics.paired_comparison import (
    Keep,
    PairedComparison,
    compare_paired,
    comparison_record,
    format_outcome,
    holm,
    is_better,
    mcnemar,
    paired_t,
    unit_changes,
    worth_keeping,
)

Y = np.array([0, 0, 0, 1, 1])
BEFORE = np.log([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.6, 0.4]]).astype(np.float32)
AFTER = np.log([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]).astype(np.float32)


def table(both: int, gained: int, lost: int, neither: int) -> PairedComparison:
    """Two classifiers that agree and differ on so many images."""
    right, wrong = [2.0, 0.0], [0.0, 2.0]
    before = [right] * both + [wrong] * gained + [right] * lost + [wrong] * neither
    after = [right] * both + [right] * gained + [wrong] * lost + [wrong] * neither
    num_images = both + gained + lost + neither
    return compare_paired(np.zeros(num_images, np.int64), np.array(before, np.float32), np.array(after, np.float32))


def test_five_images_by_hand():
    found = compare_paired(Y, BEFORE, AFTER)
    assert (found.num_images, found.num_gained, found.num_lost) == (5, 2, 1)
    assert (found.accuracy_before, found.accuracy_after) == pytest.approx((3 / 5, 4 / 5))
    assert found.difference == pytest.approx(1 / 5)
    before = -np.log([0.8, 0.8, 0.4, 0.9, 0.4])
    after = -np.log([0.9, 0.3, 0.8, 0.9, 0.8])
    assert found.log_loss_before == pytest.approx(before.mean(), abs=1e-6)
    assert found.log_loss_after == pytest.approx(after.mean(), abs=1e-6)
    assert found.log_loss_difference == pytest.approx((after - before).mean(), abs=1e-6)
    # Of three images that changed sides, two to one: 2 * (1 + 3) / 8, which is no less than 1.
    assert found.p_value == 1.0
    # Half an image in each cell: (2.5 - 1.5) / 7, and the variance (4 - 1 / 7) / 49.
    half = 1.959964 * np.sqrt(4 - 1 / 7) / 7
    assert (found.difference_low, found.difference_high) == pytest.approx((1 / 7 - half, 1 / 7 + half), abs=1e-6)


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (4, 4, 1.0), (7, 1, 18 / 256)]
)
def test_mcnemar_by_hand(gained: int, lost: int, p: float):
    assert mcnemar(gained, lost) == p


def test_the_other_way_round_everything_changes_sign():
    there, back = compare_paired(Y, BEFORE, AFTER), compare_paired(Y, AFTER, BEFORE)
    assert back.difference == -there.difference
    assert (back.difference_low, back.difference_high) == pytest.approx((-there.difference_high, -there.difference_low))
    assert back.log_loss_difference == pytest.approx(-there.log_loss_difference)
    assert (back.log_loss_difference_low, back.log_loss_difference_high) == pytest.approx(
        (-there.log_loss_difference_high, -there.log_loss_difference_low), rel=0.1
    )
    assert (back.p_value, back.num_gained, back.num_lost) == (there.p_value, there.num_lost, there.num_gained)


def test_the_order_of_images_and_the_names_of_classes_change_nothing_but_the_bootstraps_draws(rng):
    order = rng.permutation(5)
    shuffled = vars(compare_paired(Y[order], BEFORE[order], AFTER[order]))
    renamed = vars(compare_paired(1 - Y, BEFORE[:, ::-1], AFTER[:, ::-1]))
    expected = vars(compare_paired(Y, BEFORE, AFTER))
    assert renamed == pytest.approx(expected)
    drawn = {"log_loss_difference_low", "log_loss_difference_high"}
    assert {name: shuffled[name] for name in expected.keys() - drawn} == pytest.approx(
        {name: expected[name] for name in expected.keys() - drawn}
    )


def test_the_interval_in_log_loss_is_that_of_a_mean(rng):
    y, n = np.zeros(400, np.int64), 400
    before, after = rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)
    found = compare_paired(y, before, after)
    losses = [np.logaddexp(*logits.T.astype(np.float64)) - logits[:, 0] for logits in (before, after)]
    half = 1.96 * np.std(losses[1] - losses[0]) / np.sqrt(n)
    assert found.log_loss_difference_low == pytest.approx(found.log_loss_difference - half, abs=0.1 * half)
    assert found.log_loss_difference_high == pytest.approx(found.log_loss_difference + half, abs=0.1 * half)


@pytest.mark.rare
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(rng):
    cells, truth, hits = (0.7, 0.15, 0.05, 0.1), 0.1, 0
    for _ in range(200):
        found = table(*rng.multinomial(60, cells))
        hits += found.difference_low <= truth <= found.difference_high
    assert 0.91 <= hits / 200 <= 1.0


def test_a_classifier_against_itself_is_a_tie_and_the_head_stays():
    found = compare_paired(Y, BEFORE, BEFORE)
    assert (found.difference, found.log_loss_difference, found.p_value) == (0, 0, 1)
    assert found.difference_low == -found.difference_high
    assert (found.log_loss_difference_low, found.log_loss_difference_high) == (0, 0)
    assert not worth_keeping(found, "better")
    assert worth_keeping(found, "always")


@pytest.mark.parametrize(
    ("gained", "lost", "p_value", "kept"),
    [(3, 2, 0.05, True), (3, 2, 0.051, False), (2, 2, 0.01, False), (2, 3, 0.0, False), (0, 0, 0.0, False)],
)
def test_a_network_is_better_with_more_images_right_and_a_lower_log_loss_beyond_chance(gained, lost, p_value, kept):
    assert is_better(gained, lost, p_value) == kept


def test_the_paired_t_test_against_a_hand_computed_value():
    # Differences -1, 0, -2, -1, -1: mean -1, deviation sqrt(0.5), t = -1 / sqrt(0.1) with 4 degrees of freedom.
    assert paired_t(-1.0, 0.5**0.5, 5) == pytest.approx(0.01705, abs=1e-5)
    assert paired_t(1.0, 0.5**0.5, 5) == pytest.approx(1 - 0.01705, abs=1e-5)
    assert (paired_t(-1.0, 0.0, 5), paired_t(-1.0, 0.0, 1)) == (1, 1)


def test_weights_are_kept_where_asked_for_and_where_the_comparison_says_so():
    better, worse = table(both=40, gained=8, lost=0, neither=2), table(both=40, gained=0, lost=8, neither=2)
    assert (worth_keeping(better, "better"), worth_keeping(worse, "better")) == (True, False)
    assert worth_keeping(worse, "always")


def test_a_gain_in_accuracy_with_a_higher_loss_is_not_kept():
    before = np.array([[0.0, 0.1]] * 8 + [[5.0, 0.0]] * 40, np.float32)
    after = np.array([[0.1, 0.0]] * 8 + [[1.0, 0.0]] * 40, np.float32)  # eight more are right, all are less sure
    found = compare_paired(np.zeros(48, np.int64), before, after)
    assert (found.num_gained, found.num_lost) == (8, 0)
    assert not worth_keeping(found, "better")
    assert "the probabilities are worse (log loss 0.13 -> 0.37)" in format_outcome(found, "better")


def test_of_equally_good_networks_few_are_kept(rng):
    kept = 0
    for _ in range(2000):
        changes = rng.standard_t(4, 60)  # heavy tails, as log losses have
        changed = changes[rng.random(60) < 0.2]  # a fifth of the images change sides as their log loss does
        p_value = paired_t(float(changes.mean()), float(changes.std(ddof=1)), 60)
        kept += is_better(int((changed < 0).sum()), int((changed > 0).sum()), p_value)
    assert kept / 2000 <= 0.06


KEPT = "validation 95.0% -> 98.9% (8 gained, 1 lost of 180)"


@pytest.mark.parametrize(
    ("gained", "lost", "keep", "line"),
    [
        (8, 1, "better", f"kept: {KEPT}"),
        (8, 1, "always", f"kept: {KEPT}"),
        (3, 1, "better", "not kept: validation 96.0% -> 97.0% (3 gained, 1 lost of 200), the difference may be chance "
         "(p = 0.16)"),
        (1, 3, "better", "not kept: validation 97.0% -> 96.0% (1 gained, 3 lost of 200), no better"),
        (0, 0, "always", "kept, as `finetune.keep: always` asks: validation 97.5% -> 97.5% (0 gained, 0 lost of 200), "
         "no better"),
    ],
)  # fmt: skip
def test_the_line_says_whether_weights_are_kept_and_why_not(gained: int, lost: int, keep: Keep, line: str):
    neither = 1 if gained == 8 else 5
    both = (180 if gained == 8 else 200) - gained - lost - neither
    assert format_outcome(table(both=both, gained=gained, lost=lost, neither=neither), keep) == line


def test_the_record_is_flat_short_and_json():
    found = comparison_record(compare_paired(Y, BEFORE, AFTER), "val")
    assert list(found) == [
        "val_accuracy_before", "val_accuracy_after", "val_log_loss_before", "val_log_loss_after", "val_num_gained",
        "val_num_lost", "val_difference", "val_difference_low", "val_difference_high", "val_p_value",
        "val_log_loss_difference", "val_log_loss_difference_low", "val_log_loss_difference_high",
        "val_log_loss_p_value",
    ]  # fmt: skip
    assert found["val_num_gained"] == 2
    assert found["val_log_loss_before"] == round(float(-np.log([0.8, 0.8, 0.4, 0.9, 0.4]).mean()), 6)


def test_twice_gives_the_same():
    assert compare_paired(Y, BEFORE, AFTER) == compare_paired(Y, BEFORE, AFTER)


@pytest.mark.parametrize("num_after", [0, 4])
def test_other_images_and_none_are_refused(num_after: int):
    with pytest.raises(DataError, match="the same images, at least one: 5, 5, "):
        compare_paired(Y, BEFORE, AFTER[:num_after])
    with pytest.raises(DataError, match="at least one: 0, 0, 0"):
        compare_paired(Y[:0], BEFORE[:0], AFTER[:0])


def test_one_image_is_compared_too():
    found = compare_paired(Y[:1], BEFORE[:1], AFTER[:1])
    assert (found.difference, found.p_value) == (0, 1)
    assert found.difference_low == -found.difference_high == pytest.approx(-1.959964 / 3, abs=1e-6)


def test_units_count_once_by_what_most_of_their_images_say():
    before = np.array([True, False, False, True, True, False])
    after = np.array([False, True, True, True, False, False])
    assert unit_changes(before, after, list("abcdef")) == (2, 2)
    assert unit_changes(before, after, ["g", "g", "g", "d", "e", "f"]) == (1, 1)  # g: one lost, two gained
    assert unit_changes(before, after, ["g", "g", "c", "d", "e", "f"]) == (1, 1)  # g: one of each


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []
