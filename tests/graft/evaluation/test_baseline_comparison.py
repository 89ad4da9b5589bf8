import dataclasses

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.splits import BASELINES
from stages.graft.evaluation.baseline_comparison import (
    baselines_record,
    compare_with_baselines,
    comparison_table,
    format_figures,
    verdict_record,
)
from stages.graft.metrics.baseline_names import BASELINE_NAMES
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


def against_pixels(num_gained, num_lost, num_both=4, groups=None):
    """A model that gets these numbers of images right alone, wrong alone, and right like the pixel baseline."""
    labels = ["hole"] * (num_gained + num_lost + num_both)
    model_right = np.array([True] * num_gained + [False] * num_lost + [True] * num_both)
    scored = evaluation(labels, np.where(model_right[:, None], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]), groups=groups)
    pixels = ["scratch"] * num_gained + ["hole"] * (num_lost + num_both)
    wrong = ["scratch"] * len(labels)
    images = scored.images.assign(majority=wrong, pixels=pixels, neighbours=wrong)
    return compare_with_baselines(dataclasses.replace(scored, images=images))


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
    assert format_figures(verdict.simple).startswith("grey pixels without a network: 100.0% against 40.0%, 6 images")


def test_near_duplicates_count_once():
    """Six images gained in five groups: p = 2 / 2^5, not 2 / 2^6."""
    verdict = against_pixels(6, 0, groups=[0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).simple
    assert (verdict.num_gained, verdict.groups_gained, verdict.p_value) == (6, 5, 0.0625)
    assert not verdict.is_beaten


def test_the_nearest_neighbours_are_named_only_where_they_are_better():
    scored = evaluation(["hole"] * 6, [[0.1, 0.8, 0.1]] * 6)
    images = scored.images.assign(majority="scratch", pixels="scratch", neighbours="hole")
    verdicts = compare_with_baselines(dataclasses.replace(scored, images=images))
    assert verdicts.hardest.name == "neighbours"
    assert not verdicts.are_beaten


def test_every_baseline_has_words():
    assert tuple(BASELINE_NAMES) == BASELINES


@pytest.mark.parametrize(("num_gained", "num_lost"), [(5, 0), (0, 0), (0, 9), (9, 7)])
def test_a_difference_that_could_be_chance_is_none(num_gained, num_lost):
    verdict = against_pixels(num_gained, num_lost)
    assert not verdict.are_beaten
