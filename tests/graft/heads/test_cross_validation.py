from dataclasses import replace

import numpy as np
import pytest

from stages.graft.heads import cross_validation
from stages.graft.heads.cross_validation import ALWAYS_FITTED, assign_folds, score_held_out
from stages.graft.heads.features import select_rows
from tests.support.features import feature_set


def numbered(*labels, groups=()):
    """Images whose only feature is their number."""
    return replace(feature_set(np.arange(len(labels)), labels, ("a", "b")), groups=groups)


def images_fitted(train, x):
    """A candidate whose logits are whether each image was in the fit, and its number."""
    yield np.stack([np.isin(x[:, 0], train.x[:, 0]), x[:, 0]], axis=1).astype(np.float32)


def test_every_image_is_scored_once_by_a_fit_without_it():
    train, val = numbered(*[0, 1] * 10), numbered(*[0, 1] * 3)
    val = replace(val, x=val.x + 100)
    (found,) = score_held_out(images_fitted, train, val, 5)
    assert not found.logits[:, 0].any()
    assert sorted(found.logits[:, 1]) == [*range(20), *range(100, 106)]
    assert (found.y == found.logits[:, 1] % 2).all()


def test_a_class_is_in_every_fit():
    train = numbered(0, 0, 0, 0, 1)
    folds, _ = assign_folds(train, numbered(0, 1), 2)
    assert folds[4] == ALWAYS_FITTED
    assert set(folds[:4].tolist()) == {0, 1}


def test_a_group_is_in_one_fold_and_stays_with_an_image_that_is_always_fitted():
    train = numbered(0, 0, 0, 0, 0, 1, 0, groups=("p", "q", "p", "q", "p", "r", "r"))
    folds, _ = assign_folds(train, numbered(0, 1), 2)
    assert folds[0] == folds[2] == folds[4] != folds[1] == folds[3]
    assert folds[5] == folds[6] == ALWAYS_FITTED


@pytest.mark.parametrize("num_folds", [0, 5])
def test_validation_alone_where_it_is_asked_for_or_where_there_are_many_images(monkeypatch, num_folds):
    monkeypatch.setattr(cross_validation, "MAX_TRAIN", 9 if num_folds else 100)
    (found,) = score_held_out(lambda train, x: iter([x]), numbered(*[0, 1] * 5), numbered(1, 0, 1), num_folds)
    assert found.logits[:, 0].tolist() == [0, 1, 2]
    assert found.y.tolist() == [1, 0, 1]


def test_candidates_are_fitted_only_as_far_as_they_are_taken():
    fits = []

    def score(train, x):
        for number in range(10):
            fits.append(number)
            yield x

    candidates = score_held_out(score, numbered(*[0, 1] * 5), numbered(0, 1), 2)
    next(candidates)
    assert fits == [0, 0]


def test_without_any_image_to_score_there_is_no_result():
    none = select_rows(numbered(0), np.arange(0))
    assert list(score_held_out(images_fitted, numbered(0, 1), none, 5)) == []
