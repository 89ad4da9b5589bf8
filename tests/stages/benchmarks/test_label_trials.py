"""Trials of labelling on made-up features, and the rows of their table."""

import numpy as np
import pandas as pd
import pytest

from stages.benchmarks import compare_suggestions
from stages.benchmarks.label_trials import (
    choose,
    cold_classes,
    draw_labels,
    draw_pool,
    forecast_trial,
    labels_needed,
    score,
    simulate_rounds,
    wrong_label_trial,
)
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.heads.mlp_params import MlpParams
from tests.support.features import feature_set, sparse_features

SIZES = np.array([10, 20, 30])


@pytest.fixture
def images(rng):
    """Four classes of 40."""
    return sparse_features(rng, 40)


def test_a_quarter_is_held_out_and_no_image_is_in_both(images):
    first, again, other = (draw_pool(images, seed) for seed in (0, 0, 1))
    assert (len(first.pool.y), len(first.held_out.y)) == (120, 40)
    assert set(first.pool.ids).isdisjoint(first.held_out.ids)
    assert first.held_out.ids == again.held_out.ids != other.held_out.ids


@pytest.mark.parametrize(
    ("accuracies", "target", "expected"),
    [
        ([0.5, 0.7, 0.9], 0.8, 25.0),  # halfway from 20 to 30
        ([0.5, 0.4, 0.9], 0.5, 10.0),  # from the first point on
        ([0.6, 0.4, 0.8], 0.7, 25.0),  # a dip does not count
        ([0.5, 0.6, 0.7], 0.8, float("inf")),
    ],
)
def test_labels_needed(accuracies, target, expected):
    assert labels_needed(np.array(accuracies), SIZES, target) == pytest.approx(expected)


def test_a_class_that_has_no_label_is_never_answered():
    labelled, held_out = (
        feature_set(np.eye(4)[[0, 0, 1, 1]], [0, 0, 1, 1]),
        feature_set(np.eye(4)[[0, 1, 2]], [0, 1, 2]),
    )
    labelled = type(labelled)(ids=(), x=labelled.x, y=labelled.y, classes=held_out.classes)
    assert score(labelled, held_out) == pytest.approx(2 / 3)


@pytest.mark.parametrize("strategy", compare_suggestions.STRATEGIES)
def test_every_strategy_chooses_new_images(images, strategy):
    labelled = choose(images, strategy, [], 8, 0)
    more = choose(images, strategy, labelled, 8, 0)
    assert len({*labelled, *more}) == len(labelled) + len(more) == 16


def test_suggested_images_show_the_classes_and_more_labels_are_better(images):
    pool = draw_pool(images, 0)
    assert cold_classes(pool, "suggested", 12, 0) == 4
    accuracies = simulate_rounds(pool, "random", 4, 5, 0)
    assert len(accuracies) == 5
    assert accuracies[-1] > accuracies[0]


def test_checking_suspects_mends_most_labels(images):
    trial = wrong_label_trial(draw_pool(images, 0), 25, 0)
    assert trial.found >= 0.8
    assert trial.wrong <= trial.checked <= trial.clean + 0.05
    assert trial.noticed > trial.mistaken
    assert trial.mistaken <= trial.mistaken_by_learning


def test_every_class_has_two_labels_and_the_same_seed_draws_the_same(images):
    rows, again = (draw_labels(images.y, 12, np.random.default_rng(3)) for _ in range(2))
    assert rows.tolist() == again.tolist()
    assert len(set(rows.tolist())) == 12
    assert np.bincount(images.y[rows], minlength=4).min() >= 2


def test_a_forecast_and_what_came(images):
    trial = forecast_trial(images, 16, 0)
    assert trial.now < trial.later <= 1
    assert trial.expected.low <= trial.expected.middle <= trial.expected.high
    assert trial.is_inside == (trial.expected.low <= trial.later <= trial.expected.high)
    assert abs(trial.tested - trial.later) < 0.4


def test_the_rows_of_the_table(images, monkeypatch):
    monkeypatch.setattr(compare_suggestions, "NUM_SEEDS", 2)
    monkeypatch.setattr(compare_suggestions, "NUM_FORECASTS", 2)
    monkeypatch.setattr(compare_suggestions, "NUM_FORECAST_FROM", (20,))
    params = TrainHeadParams(
        kind="lda", class_weight="none", l2_grid=(1.0,), num_folds=2, mlp=MlpParams.model_construct()
    )
    monkeypatch.setattr(compare_suggestions, "load_params", lambda *_: params)
    parts = (compare_suggestions.cold_rows, compare_suggestions.forecast_rows, compare_suggestions.known_rows)
    table = pd.DataFrame([row for part in parts for row in part("made up", images)])
    assert set(table["num_labels"]) == {8, 12, 20, 40, 60}
    assert table.columns.to_list() == ["set", "question", "method", "num_labels", "mean", "low", "high", "num_seeds"]
    found = table.dropna()
    assert (found["low"] <= found["mean"] + 1e-9).all()
    assert (found["mean"] <= found["high"] + 1e-9).all()
    assert set(found["num_seeds"]) <= {1, 2}


def test_means_and_their_intervals():
    one = compare_suggestions.row("a", "q", "m", 5, [0.25] * 4)
    assert one == {"set": "a", "question": "q", "method": "m", "num_labels": 5, "mean": 0.25, "low": 0.25,
                   "high": 0.25, "num_seeds": 4}  # fmt: skip
    spread = compare_suggestions.row("a", "q", "m", 5, [0.0, 1.0] * 8)
    assert (spread["mean"], spread["low"] < 0.5 < spread["high"]) == (0.5, True)
    assert compare_suggestions.record("a", "q", "m", 5, (0.5, 0.4, np.inf), 4)["high"] is None
