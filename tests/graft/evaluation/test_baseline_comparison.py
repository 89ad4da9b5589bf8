import dataclasses

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.evaluation.baseline_comparison import (
    baselines_record,
    compare_with_best,
    comparison_table,
    format_verdict,
    verdict_record,
)
from tests.graft.evaluation.test_results import evaluation

LABELS = ["hole", "hole", "inclusion", "scratch"]


def model(majority, pixels):
    """Four images, all right, with what two baselines predict; the third is as good as the model."""
    scored = evaluation(LABELS, np.eye(3)[[0, 0, 1, 2]] * 0.7 + 0.1)
    images = scored.images.assign(majority=majority, pixels=pixels, neighbours=LABELS)
    return dataclasses.replace(scored, images=images)


def test_by_hand():
    table = comparison_table(model(["hole"] * 4, ["hole", "scratch", *LABELS[2:]]))
    assert table["name"].to_list() == ["model", "majority", "pixels", "neighbours"]
    assert table["accuracy"].to_list() == [1, 0.5, 0.75, 1]
    assert table["balanced_accuracy"].to_list() == [1, 0.333333, 0.833333, 1]
    assert table["macro_f1"].to_list() == [1, round(2 / 3 / 3, 6), round((2 / 3 + 1 + 2 / 3) / 3, 6), 1]
    assert table.loc[1, ["accuracy_low", "accuracy_high"]].sum() == pytest.approx(1)  # half right: symmetric
    record = {"majority_accuracy": 0.5, "pixels_accuracy": 0.75, "neighbours_accuracy": 1}
    assert baselines_record(table) == record


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match="baseline pixels lacks 3 test images"):
        comparison_table(model(LABELS, ["hole", "", "", ""]))


def against_pixels(num_gained, num_lost, num_both=4):
    """A model that gets these numbers of images right alone, wrong alone, and right like the pixel baseline."""
    labels = ["hole"] * (num_gained + num_lost + num_both)
    model_right = np.array([True] * num_gained + [False] * num_lost + [True] * num_both)
    scored = evaluation(labels, np.where(model_right[:, None], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]))
    pixels = ["scratch"] * num_gained + ["hole"] * (num_lost + num_both)
    wrong = ["scratch"] * len(labels)
    images = scored.images.assign(majority=wrong, pixels=pixels, neighbours=wrong)
    return compare_with_best(dataclasses.replace(scored, images=images))


def test_the_best_baseline_is_compared_image_by_image():
    verdict = against_pixels(6, 0)
    assert verdict_record(verdict) == {
        "baseline": "pixels",
        "baseline_accuracy": 0.4,
        "baseline_num_gained": 6,
        "baseline_num_lost": 0,
        "baseline_p_value": 0.03125,  # 2 / 2 ** 6
        "beats_baseline": True,
    }
    assert format_verdict(verdict).startswith("better than the best baseline, grey pixels without a network: 100.0%")


@pytest.mark.parametrize(("num_gained", "num_lost"), [(5, 0), (0, 0), (0, 9), (9, 7)])
def test_a_difference_that_could_be_chance_is_said(num_gained, num_lost):
    verdict = against_pixels(num_gained, num_lost)
    assert not verdict.is_beaten
    said = format_verdict(verdict)
    assert said.startswith("NOT proven better than the best baseline")
    assert said.endswith("`graft compare-backbones` tries other networks")
    assert "\n" not in said
