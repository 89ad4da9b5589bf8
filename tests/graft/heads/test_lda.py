from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from stages.graft.core.errors import DataError
from stages.graft.heads.features import select_rows
from stages.graft.heads.lda import fit_discriminants, fit_lda, log_frequencies
from stages.graft.metrics.classification import accuracy, log_loss, softmax
from tests.support.features import feature_set, sparse_features


def drawn(rng, counts, num_features=6, distance=1.0):
    """Classes of normal features with different means."""
    y = np.repeat(np.arange(len(counts)), counts)
    means = np.random.default_rng(3).normal(size=(len(counts), num_features)) * distance
    return feature_set(means[y] + rng.normal(size=(len(y), num_features)), y)


def slow_discriminants(x, y, num_classes, weights):
    """Discriminants by the formula, with an inverse of d by d."""
    means = np.stack([x[y == k].mean(axis=0) for k in range(num_classes)])
    residuals = (x - means[y]) * np.sqrt(weights[y] / weights[y].mean())[:, None]
    inverse = np.linalg.inv(ledoit_wolf(residuals, assume_centered=True)[0])
    differences = x[:, None] - means[None]
    return -0.5 * np.einsum("nkd,de,nke->nk", differences, inverse, differences)


@pytest.mark.parametrize("counts", [(40, 30, 50), (3, 2, 4)])  # more images than features, and fewer
@pytest.mark.parametrize("weights", [np.ones(3), np.array([0.5, 2.0, 1.0])])
def test_discriminants_are_those_of_the_formula(rng, counts, weights):
    train = drawn(rng, counts, num_features=12)
    head, shrinkage = fit_discriminants(train, weights)
    x = head.softsign.apply(train.x).astype(np.float64)
    expected = slow_discriminants(x, train.y, 3, weights)
    found = head.logits(train.x)
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=2e-3, atol=2e-3)
    assert 0 < shrinkage <= 1


def test_with_its_own_shrinkage_scikit_learn_gives_the_same_probabilities(rng):
    train = drawn(rng, (40, 40, 40))
    head, _ = fit_discriminants(train, np.ones(3))
    x = head.softsign.apply(train.x).astype(np.float64)
    means = np.stack([x[train.y == k].mean(axis=0) for k in range(3)])
    shrinkage = ledoit_wolf(x - means[train.y], assume_centered=True)[1]
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, train.y)
    np.testing.assert_allclose(softmax(head.logits(train.x)), model.predict_proba(x), atol=1e-3)


def test_one_image_of_each_class_gives_the_nearest_one():
    train = feature_set([[-2, 0], [2, 0], [0, 3]], [0, 1, 2])
    head, shrinkage = fit_discriminants(train, np.ones(3))
    assert shrinkage == 1
    assert head.logits(train.x + np.float32(0.3)).argmax(axis=1).tolist() == [0, 1, 2]


def test_frequencies_follow_the_weights():
    train = feature_set(np.zeros(4), [0, 0, 0, 1])
    np.testing.assert_allclose(np.exp(log_frequencies(train, np.ones(2))), [0.75, 0.25])
    np.testing.assert_allclose(np.exp(log_frequencies(train, np.array([2 / 3, 2.0]))), [0.5, 0.5])


def test_few_images_of_many_features_are_classified_and_confidence_is_sane(rng):
    train, val, test = (sparse_features(rng, n) for n in (5, 2, 100))
    logits = fit_lda(train, val, np.ones(4), 5)[0].logits(test.x)
    assert accuracy(logits.argmax(axis=1), test.y) > 0.9
    assert log_loss(logits, test.y) < 0.2


def test_discriminants_that_are_too_sure_are_softened(rng):
    train, test = drawn(rng, (8, 8, 8), 200, 0.15), drawn(rng, (200, 200, 200), 200, 0.15)
    head, choices, _ = fit_lda(train, select_rows(train, np.arange(0)), np.ones(3), 5)
    loss = log_loss(head.logits(test.x), test.y)
    assert choices["sharpness"] < 1
    assert loss < log_loss(head.logits(test.x) / np.float32(choices["sharpness"]), test.y) - 0.1
    assert loss < np.log(3)


def test_the_order_of_the_images_does_not_matter(rng):
    train, val = drawn(rng, (6, 7, 8)), drawn(rng, (3, 3, 3))
    order = rng.permutation(len(train.y))
    head, *_ = fit_lda(train, val, np.ones(3), 0)
    again, *_ = fit_lda(select_rows(train, order), val, np.ones(3), 0)
    np.testing.assert_allclose(again.logits(val.x), head.logits(val.x), rtol=1e-3, atol=1e-3)


def test_names_of_classes_do_not_matter(rng):
    train, val = drawn(rng, (6, 7, 8)), drawn(rng, (3, 3, 3))
    renamed = np.array([2, 0, 1])
    head, *_ = fit_lda(train, val, np.ones(3), 0)
    again, *_ = fit_lda(replace(train, y=renamed[train.y]), replace(val, y=renamed[val.y]), np.ones(3), 0)
    np.testing.assert_allclose(again.logits(val.x)[:, renamed], head.logits(val.x), rtol=1e-3, atol=1e-3)


def test_scale_and_shift_of_a_feature_do_not_matter(rng):
    train, val = drawn(rng, (30, 30)), drawn(rng, (9, 9))
    head, *_ = fit_lda(train, val, np.ones(2), 5)
    moved = [replace(images, x=images.x * np.float32(4) + np.float32(7)) for images in (train, val)]
    again, *_ = fit_lda(*moved, np.ones(2), 5)
    np.testing.assert_allclose(again.logits(moved[1].x), head.logits(val.x), rtol=1e-3, atol=1e-3)


def test_an_outlying_feature_moves_the_logits_little(rng):
    train = drawn(rng, (30, 30))
    head, *_ = fit_lda(train, train, np.ones(2), 5)
    far, farther = (head.logits(np.full((1, 6), value, np.float32)) for value in (1e3, 1e6))
    np.testing.assert_allclose(far, farther, atol=0.05)


def test_no_image_to_choose_with_is_an_error():
    train = feature_set([0, 1], [0, 1])
    with pytest.raises(DataError, match="no image is left"):
        fit_lda(train, select_rows(train, np.arange(0)), np.ones(2), 5)
