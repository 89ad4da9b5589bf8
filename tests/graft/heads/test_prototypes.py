import numpy as np
import pytest

from stages.graft.heads.prototypes import fit_prototypes
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import log_loss, softmax
from tests.support.features import feature_set, sparse_features


def test_by_hand_in_one_dimension():
    train = feature_set([0.0, 2.0, 6.0, 8.0], [0, 0, 1, 1])
    head, _ = fit_prototypes(train, train, np.ones(2))
    logits = head.logits(np.array([[3.9], [4.0], [4.1]], dtype=np.float32))  # the means are 1 and 7
    assert logits.argmax(axis=1).tolist()[::2] == [0, 1]
    assert logits[1, 0] == pytest.approx(logits[1, 1], abs=1e-5)


def test_the_nearest_mean_wins(rng):
    train, val = sparse_features(rng, 10), sparse_features(rng, 10)
    head, choices = fit_prototypes(train, val, np.ones(4))
    standardisation = fit_standardisation(train.x)
    x, z = standardisation.apply(train.x), standardisation.apply(val.x)
    means = np.stack([x[train.y == k].mean(axis=0) for k in range(4)])
    squares = ((z[:, None] - means) ** 2).sum(axis=2)
    assert (head.logits(val.x).argmax(axis=1) == squares.argmin(axis=1)).all()
    np.testing.assert_allclose(softmax(head.logits(val.x)), softmax(-choices["sharpness"] * squares), atol=1e-4)


def test_probabilities_are_tempered_on_validation(rng):
    train, val = sparse_features(rng, 5, num_features=20), sparse_features(rng, 200, num_features=20)
    head, _ = fit_prototypes(train, val, np.ones(4))
    loss = log_loss(head.logits(val.x), val.y)
    for factor in (0.8, 1.25):
        assert loss < log_loss(factor * head.logits(val.x), val.y)


def test_relabelled_classes_give_the_same_head(rng):
    train, val = sparse_features(rng, 10), sparse_features(rng, 10)
    renamed = np.array([2, 0, 3, 1])
    head, _ = fit_prototypes(train, val, np.ones(4))
    again, _ = fit_prototypes(feature_set(train.x, renamed[train.y]), feature_set(val.x, renamed[val.y]), np.ones(4))
    np.testing.assert_allclose(again.logits(val.x)[:, renamed], head.logits(val.x), rtol=1e-4, atol=1e-4)
