import numpy as np
import pytest

from stages.graft.heads import auto, cross_validation, logistic
from stages.graft.heads.auto import SHARES, fit_auto, judge, mean_head
from stages.graft.heads.cross_validation import HeldOut
from stages.graft.heads.head import Head, Softsign
from stages.graft.metrics.classification import accuracy, log_loss
from tests.support.features import feature_set, sparse_features

GRID = [100.0, 1.0, 0.01]


def held_out(probabilities, y=(0, 0)):
    return HeldOut(logits=np.log(np.array(probabilities, dtype=np.float32)), y=np.array(y))


def test_candidates_by_hand():
    lda, logistic, mean = judge(held_out([[0.9, 0.1], [0.2, 0.8]]), held_out([[0.5, 0.5], [0.8, 0.2]]), np.ones(2))
    assert (lda.kind, logistic.kind, mean.kind) == tuple(SHARES)
    assert lda.log_loss == pytest.approx(-np.log(0.9 * 0.2) / 2)
    assert logistic.log_loss == pytest.approx(-np.log(0.5 * 0.8) / 2)
    assert mean.log_loss == pytest.approx(-np.log(3 / 4 * 1 / 2) / 2)  # odds: root of 9, root of 1
    assert (lda.accuracy, logistic.accuracy) == (0.5, 1.0)


def test_the_mean_of_two_heads_has_the_mean_of_their_logits(rng):
    softsign = Softsign(weight=np.ones(3, np.float32), bias=np.zeros(3, np.float32))
    layers = [(rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=2).astype(np.float32)) for _ in range(2)]
    first, second = (Head(kind="lda", classes=("a", "b"), layers=(layer,), softsign=softsign) for layer in layers)
    x = rng.normal(size=(5, 3)).astype(np.float32)
    expected = 0.25 * first.logits(x) + 0.75 * second.logits(x)
    np.testing.assert_allclose(mean_head(first, second, 0.25).logits(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_class", [3, 30])
def test_the_candidate_with_the_lowest_log_loss_is_kept(rng, per_class):
    train, val, test = (sparse_features(rng, n) for n in (per_class, 4, 100))
    head, choices = fit_auto(train, val, GRID, np.ones(4), 5)
    losses = {kind: choices[f"{kind}_log_loss"] for kind in SHARES}
    assert head.kind == choices["chosen"] == min(losses, key=losses.get)
    assert choices["num_held_out"] == len(train.y) + len(val.y)
    logits = head.logits(test.x)
    assert accuracy(logits.argmax(axis=1), test.y) > 0.8
    assert log_loss(logits, test.y) < 2 * losses[head.kind] + 0.1  # what was promised holds on other images


def test_classes_in_several_pieces_are_for_logistic_regression(rng):
    # Class 1 lies on both sides of class 0 along one feature, and a second feature tells them apart without a mean.
    y = np.tile([0, 1], 200)
    side = np.where(y == 1, rng.choice([-1, 1], 400), 0)
    x = np.stack([side * 3 + rng.normal(size=400) * 0.1, np.where(y == 1, rng.uniform(0.2, 9, 400), -0.1)], axis=1)
    images = feature_set(x, y)
    _, choices = fit_auto(images, images, GRID, np.ones(2), 5)
    assert choices["logistic_log_loss"] < choices["lda_log_loss"]


def test_the_same_images_give_the_same_bits(rng):
    train, val = sparse_features(rng, 8), sparse_features(rng, 4)
    (one, _), (two, _) = (fit_auto(train, val, GRID, np.ones(4), 5) for _ in range(2))
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, two.arrays[name])


def test_of_many_images_a_sample_chooses_the_penalty_and_all_are_fitted(rng, monkeypatch):
    train, val = sparse_features(rng, 60), sparse_features(rng, 20)
    monkeypatch.setattr(cross_validation, "MAX_TRAIN", 40)
    full, choices = fit_auto(train, val, GRID, np.ones(4), 5)
    assert choices["num_held_out"] == len(val.y)  # validation alone
    assert "num_images_for_l2" not in choices
    monkeypatch.setattr(logistic, "MAX_IMAGES", 120)
    monkeypatch.setattr(auto, "MAX_IMAGES", 120)
    bounded, sampled = fit_auto(train, val, GRID, np.ones(4), 5)
    assert sampled["num_images_for_l2"] == 120
    if sampled["l2"] == choices["l2"]:  # then the head is the same: it is fitted to all
        np.testing.assert_array_equal(bounded.layers[0][0], full.layers[0][0])
    assert abs(sampled["logistic_accuracy"] - choices["logistic_accuracy"]) < 0.05
