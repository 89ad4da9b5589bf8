import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stages.graft.heads import logistic
from stages.graft.heads.logistic import choose_penalty, fit_logistic, limited
from stages.graft.heads.softmax_regression import COARSE
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import accuracy, log_loss
from tests.support.features import feature_set, sparse_features

GRID = (1e4, 1e3, 1e2, 1e1, 1.0, 0.1, 0.01)
EVEN = np.ones(4)


def found(head, images):
    return accuracy(head.logits(images.x).argmax(axis=1), images.y)


def test_it_is_scikit_learns_on_standardised_features(rng):
    train, val = (sparse_features(rng, 60, num_features=20) for _ in range(2))
    head, choices = fit_logistic(train, val, [3.0], EVEN)
    standardisation = fit_standardisation(train.x)
    model = LogisticRegression(C=1 / 3.0, tol=1e-8, max_iter=5000)
    model.fit(standardisation.apply(train.x).astype(np.float64), train.y)
    expected = model.predict_log_proba(standardisation.apply(val.x))
    logits = head.logits(val.x)
    np.testing.assert_allclose(
        logits - logits.mean(axis=1, keepdims=True), expected - expected.mean(1)[:, None], atol=0.02
    )
    assert choices == {"l2": 3.0, "num_tried": 1, "converged": True}


def test_the_short_cut_for_many_features_changes_nothing(rng, monkeypatch):
    train, val = sparse_features(rng, 10), sparse_features(rng, 10)
    short, _ = fit_logistic(train, val, GRID[:5], EVEN)
    monkeypatch.setattr(logistic, "_reduce", lambda x: (x, None))
    long, _ = fit_logistic(train, val, GRID[:5], EVEN)
    np.testing.assert_allclose(short.logits(val.x), long.logits(val.x), atol=0.02)


@pytest.mark.parametrize(("per_class", "at_least"), [(5, 0.9), (10, 0.95), (25, 0.97), (140, 0.97)])
def test_few_and_many_images_give_a_good_head(per_class, at_least, rng):
    train, val, test = (sparse_features(rng, number) for number in (per_class, 20, 50))
    head, choices = fit_logistic(train, val, GRID, EVEN)
    assert found(head, test) >= at_least
    assert choices["converged"]


def test_validation_chooses_the_penalty(rng):
    train, val = sparse_features(rng, 20, num_features=30), sparse_features(rng, 20, num_features=30)
    losses = {l2: log_loss(fit_logistic(train, val, [l2], EVEN)[0].logits(val.x), val.y) for l2 in GRID}
    _, choices = fit_logistic(train, val, GRID, EVEN)
    assert choices["l2"] == min(losses, key=lambda l2: losses[l2])
    assert 1 < choices["num_tried"] <= len(GRID)


def test_the_order_of_the_grid_does_not_matter_and_weak_penalties_are_left_out(rng):
    train, val = sparse_features(rng, 5), sparse_features(rng, 5)
    val = feature_set(val.x, np.where(np.arange(20) % 3, val.y, 0))  # some wrong labels punish a weak penalty
    head, choices = fit_logistic(train, val, GRID, EVEN)
    again, choices_again = fit_logistic(train, val, GRID[::-1], EVEN)
    assert choices == choices_again
    assert choices["num_tried"] < len(GRID)
    np.testing.assert_array_equal(head.layers[0][0], again.layers[0][0])


def test_a_tie_keeps_the_stronger_penalty():
    nothing = feature_set(np.zeros((6, 3)), [0, 0, 1, 1, 2, 2])  # without features every penalty does as well
    head, choices = fit_logistic(nothing, nothing, [0.1, 10.0, 1.0], np.ones(3))
    assert choices["l2"] == 10.0
    assert np.isfinite(head.layers[0][0]).all()


def test_two_classes(rng):
    train = feature_set([[0.0], [1.0], [5.0], [6.0]], [0, 0, 1, 1])
    head, _ = fit_logistic(train, train, [1.0], np.ones(2))
    assert head.layers[0][0].shape == (2, 1)
    assert found(head, train) == 1
    model = LogisticRegression(C=1.0, tol=1e-8).fit(fit_standardisation(train.x).apply(train.x), train.y)
    difference = head.logits(train.x)[:, 1] - head.logits(train.x)[:, 0]
    np.testing.assert_allclose(
        difference, model.decision_function(fit_standardisation(train.x).apply(train.x)), atol=1e-3
    )


def test_a_constant_feature_gets_no_weight(rng):
    train = sparse_features(rng, 20, num_features=20)
    x = np.concatenate([train.x, np.full((len(train.x), 1), 3, dtype=np.float32)], axis=1)
    head, _ = fit_logistic(feature_set(x, train.y), feature_set(x, train.y), GRID, EVEN)
    assert np.abs(head.layers[0][0][:, -1]).max() < 1e-6


def test_shuffled_rows_and_relabelled_classes_give_the_same_head(rng):
    train, val = sparse_features(rng, 20), sparse_features(rng, 20)
    head, _ = fit_logistic(train, val, [10.0], EVEN)
    order, renamed = rng.permutation(len(train.y)), np.array([2, 0, 3, 1])
    again, _ = fit_logistic(feature_set(train.x[order], renamed[train.y[order]]), val, [10.0], EVEN)
    np.testing.assert_allclose(again.logits(val.x)[:, renamed], head.logits(val.x), atol=0.02)


def test_balanced_weights_help_the_rare_class(rng):
    x = np.concatenate([rng.normal(0, 1, 190), rng.normal(1, 1, 10)])
    images = feature_set(x, [0] * 190 + [1] * 10)
    plain, _ = fit_logistic(images, images, [1.0], np.ones(2))
    balanced, _ = fit_logistic(images, images, [1.0], 200 / (2 * np.array([190, 10])))
    assert (plain.logits(images.x).argmax(axis=1)[190:] == 1).mean() < 0.3
    assert (balanced.logits(images.x).argmax(axis=1)[190:] == 1).mean() > 0.6


def test_a_fit_that_did_not_converge_is_told_in_the_report(rng, monkeypatch):
    monkeypatch.setattr(logistic, "MAX_STEPS", 1)
    train = sparse_features(rng, 20, num_features=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, choices = fit_logistic(train, train, [0.01], EVEN)
    assert choices["converged"] is False


def test_cross_validation_chooses_the_penalty(rng):
    train, val = sparse_features(rng, 10, num_features=30), sparse_features(rng, 5, num_features=30)
    losses = {}
    for l2 in GRID:
        _, found = choose_penalty(train, val, [l2], EVEN, 5)
        losses[l2] = log_loss(found.logits, found.y)
    l2, found = choose_penalty(train, val, GRID, EVEN, 5)
    assert l2 == min(losses, key=lambda l2: losses[l2])
    assert log_loss(found.logits, found.y) == pytest.approx(losses[l2], abs=1e-3)
    assert len(found.y) == len(train.y) + len(val.y)


def test_without_folds_the_fit_on_all_training_images_is_scored_on_validation(rng):
    train, val = sparse_features(rng, 10), sparse_features(rng, 5)
    softsign = fit_standardisation(train.x).to_softsign()
    head, choices = fit_logistic(limited(train, softsign), limited(val, softsign), GRID, EVEN, COARSE)
    l2, found = choose_penalty(train, val, GRID, EVEN, 0)
    assert l2 == choices["l2"]
    np.testing.assert_allclose(found.logits, head.logits(softsign.apply(val.x)), atol=1e-4)
