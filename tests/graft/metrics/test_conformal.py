import numpy as np
import pytest

from stages.graft.metrics.conformal import conformal_threshold, least_groups


@pytest.mark.parametrize(
    ("num_images", "rate", "threshold"),
    [(99, 0.05, 95), (100, 0.05, 96), (19, 0.05, 19), (18, 0.05, None), (9, 0.5, 5), (1, 0.5, 1)],
)
def test_hand_computed_thresholds(num_images, rate, threshold):
    scores = np.arange(num_images, 0, -1.0)  # 1, 2, ...
    assert conformal_threshold(scores, np.arange(num_images), rate) == threshold
    assert (num_images >= least_groups(rate)) == (threshold is not None)


def test_a_new_group_counts_as_large_as_the_others_on_average():
    # Six scores of three groups; a fourth group of two images is beyond them all: a rate of 1/2 is 4 of 8 images.
    scores, groups = np.array([1, 2, 3, 9, 4, 5.0]), np.array([7, 7, 7, 7, 1, 2])
    thresholds = [conformal_threshold(scores, groups, rate) for rate in (0.5, 0.375, 0.25, 0.24)]
    assert thresholds == [4, 5, 9, None]


def test_copies_change_nothing(rng):
    scores = rng.random(60)
    copied = np.repeat(scores, 5), np.repeat(np.arange(60), 5)
    assert conformal_threshold(*copied, 0.1) == conformal_threshold(scores, np.arange(60), 0.1)


def test_new_images_lie_above_at_the_promised_rate_on_average(rng):
    limits = [conformal_threshold(rng.random(50), np.arange(50), 0.1) for _ in range(300)]
    assert np.mean(limits) == pytest.approx(46 / 51, abs=0.01)  # 51 ranks, 46 of them below


def test_groups_of_similar_scores_keep_the_promise(rng):
    """Groups of 1 or 20 images around a centre of their own."""

    def draw(num_groups):
        groups = np.repeat(np.arange(num_groups), rng.choice([1, 20], num_groups))
        return rng.normal(size=num_groups)[groups] + 0.1 * rng.normal(size=len(groups)), groups

    scores = draw(2000)[0]
    alarms = [np.mean(scores > conformal_threshold(*draw(30), 0.1)) for _ in range(200)]
    assert np.mean(alarms) <= 0.1 + 0.01
