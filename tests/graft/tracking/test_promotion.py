"""Promotion, calculated on paper: the counts, both limits at their edge, other images, corrected labels."""

import pytest

from stages.graft.metrics.answer_changes import Prediction, Predictions
from stages.graft.tracking.promotion import decide_promotion


def predictions(*right: bool, label: str = "dent") -> Predictions:
    """Images of one class, each right or wrong."""
    return {
        f"{k:03}": Prediction(label=label, predicted=label if is_right else "other") for k, is_right in enumerate(right)
    }


def of(both: int, gained: int, lost: int, neither: int = 0) -> tuple[Predictions, Predictions]:
    """Champion and challenger that agree and differ on so many images."""
    before = [True] * both + [False] * gained + [True] * lost + [False] * neither
    after = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return predictions(*before), predictions(*after)


def test_the_reason_names_the_counts():
    """196 of 200 before, 197 after: 3 images gained, 2 lost; of 5 that changed, p = 1."""
    promotion = decide_promotion(*of(both=194, gained=3, lost=2, neither=1))
    assert promotion.is_promoted
    assert promotion.reason == (
        "no worse than the champion on the same 200 test images: 98.5% against the champion's 98.0% "
        "(3 images gained, 2 lost, McNemar p = 1)"
    )


@pytest.mark.parametrize(
    ("both", "gained", "lost", "is_promoted"),
    [
        (100, 0, 0, True),  # the same
        (9, 0, 1, True),  # one image, whatever its share
        (198, 0, 2, True),  # two of 200: at the tolerance
        (197, 0, 2, False),  # of 199: above it
        (25, 0, 5, False),  # p = 2/32 says nothing, five of 30 images do
        (1000, 0, 5, True),  # p = 2/32
        (1000, 0, 6, False),  # p = 2/64: significantly worse, by 0.6 points
        (1000, 6, 0, True),  # significantly better
        (10, 40, 42, False),  # lower by two of 92
        (118, 40, 42, True),  # by two of 200
    ],
)
def test_which_challengers_are_promoted(both: int, gained: int, lost: int, is_promoted: bool):
    assert decide_promotion(*of(both, gained, lost)).is_promoted is is_promoted


def test_the_order_of_the_images_decides_nothing():
    before, after = of(20, 3, 4, 1)
    turned = dict(reversed(after.items()))
    assert decide_promotion(before, after) == decide_promotion(before, turned)


def test_other_images_are_not_compared():
    before, after = predictions(*[False] * 10), predictions(*[True] * 4)
    promotion = decide_promotion(before, after)
    assert not promotion.is_promoted
    assert "tested on other images (4 now, 10 then, 4 of them the same)" in promotion.reason
    assert not decide_promotion({}, {}).is_promoted
    assert "not on record" in decide_promotion(None, after).reason


def test_after_new_images_the_test_images_of_both_decide():
    """Ten images then, eight of them and one new now; half of the larger number are enough."""
    before = predictions(*[True] * 8, False, False)
    after = predictions(*[True] * 8) | {"new": Prediction(label="dent", predicted="hole")}
    promotion = decide_promotion(before, after)
    assert promotion.is_promoted
    assert promotion.reason.startswith("no worse than the champion on the 8 test images of both: 100.0% against")
    assert not decide_promotion(before, predictions(*[True] * 4)).is_promoted


def test_both_are_judged_by_the_labels_of_today():
    """Image 000 was called a hole by both; its label was corrected since."""
    before = {**predictions(*[True] * 9), "000": Prediction(label="dent", predicted="hole")}
    after = {**predictions(*[True] * 9), "000": Prediction(label="hole", predicted="hole")}
    promotion = decide_promotion(before, after)
    assert promotion.is_promoted
    assert "100.0% against the champion's 100.0% (0 images gained, 0 lost" in promotion.reason
