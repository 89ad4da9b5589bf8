from dataclasses import replace

import numpy as np
import pytest

from stages.graft.evaluation import linear_probe
from stages.graft.evaluation.linear_probe import L2_GRID, choose_penalty, cross_validate, fit_probe
from tests.support.features import feature_set, sparse_features


def test_the_penalty_is_one_of_the_grid(rng):
    assert choose_penalty(sparse_features(rng, 10), sparse_features(rng, 5)) in L2_GRID


def test_an_image_is_scored_by_heads_that_have_not_seen_it(rng):
    images = sparse_features(rng, 20)
    groups = [""] * len(images.y)
    before = cross_validate(images, groups, 1.0, 4)
    np.testing.assert_allclose(before.sum(axis=1), 1)
    assert (before.argmax(axis=1) == images.y).mean() > 0.9
    mislabelled = images.y.copy()
    mislabelled[3] = 2
    after = cross_validate(replace(images, y=mislabelled), groups, 1.0, 4)
    assert after[3].argmax() == images.y[3]  # its own wrong label has not taught the head anything


def test_copies_of_an_image_in_one_group_do_not_vouch_for_each_other(rng):
    one = sparse_features(rng, 12)
    x, y = np.concatenate([one.x, one.x[:1], one.x[:1]]), np.concatenate([one.y, [3, 3]])
    y[0] = 3  # three times the same image of class 0, called 3
    images = feature_set(x, y)
    groups = ["burst", *[""] * (len(one.y) - 1), "burst", "burst"]
    assert cross_validate(images, groups, 1.0, 3)[0].argmax() == 0
    assert cross_validate(images, [""] * len(y), 1.0, 3)[0].argmax() == 3


def test_a_class_that_is_not_there_gets_nothing(rng):
    images = sparse_features(rng, 6)
    some = images.y != 1
    p = fit_probe(images.x[some], images.y[some], images.classes, 1.0, images.x)
    assert p[:, 1].tolist() == [0] * 24
    assert (p.argmax(axis=1) == images.y)[some].all()
    alone = fit_probe(images.x[:3], images.y[:3], images.classes, 1.0, images.x)
    assert alone.tolist() == [[1, 0, 0, 0]] * 24


def test_a_large_set_is_fitted_in_part(rng, monkeypatch):
    images, fitted = sparse_features(rng, 30), []
    monkeypatch.setattr(linear_probe, "MAX_IMAGES", 40)

    def keep(x, y, classes, l2, new_x):
        fitted.append(np.bincount(y).tolist())
        return fit_probe(x, y, classes, l2, new_x)

    monkeypatch.setattr(linear_probe, "fit_probe", keep)
    p = cross_validate(images, [""] * 120, 1.0, 3)
    assert fitted == [[10] * 4] * 3  # of 20 of each class
    np.testing.assert_allclose(p.sum(axis=1), 1)  # all images are scored
    assert (p.argmax(axis=1) == images.y).mean() > 0.9


@pytest.mark.parametrize("num_folds", [2, 3])
def test_a_single_image_of_a_class_does_not_stop_it(rng, num_folds):
    images = sparse_features(rng, 4)
    keep = np.flatnonzero((images.y != 3) | (np.arange(16) == 12))
    few = feature_set(images.x[keep], images.y[keep])
    p = cross_validate(few, [""] * 13, 1.0, num_folds)
    assert p[12, 3] == 0
    assert np.isfinite(p).all()
