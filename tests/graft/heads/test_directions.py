"""Main directions: of all images, for few labels; discriminants see nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from stages.graft.heads.directions import MAX_LABELS, NUM_DIRECTIONS, main_directions
from stages.graft.heads.features import select_rows
from stages.graft.heads.lda import fit_discriminants
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import accuracy
from stages.graft.metrics.sampling import draw_rows
from tests.support.features import feature_set, sparse_features


def few_of(images, per_class, seed=0):
    """Some labelled images of each class, which know the others without labels."""
    rows = draw_rows(images.y, per_class, np.random.default_rng(seed))
    return replace(select_rows(images, rows), unlabelled=images.x)


def directions_of(train):
    return main_directions(train, fit_standardisation(train.x).to_softsign())


def test_as_many_orthonormal_directions_as_are_kept(rng):
    directions = directions_of(few_of(sparse_features(rng, 60), 3))
    assert directions.shape == (600, NUM_DIRECTIONS)
    np.testing.assert_allclose(directions.T @ directions, np.eye(NUM_DIRECTIONS), atol=1e-4)


def test_there_are_none_without_other_images_or_with_many_labels(rng):
    images = sparse_features(rng, 60)
    assert directions_of(images) is None
    assert directions_of(few_of(images, 2 + MAX_LABELS // 4)) is None
    assert directions_of(replace(few_of(images, 3), unlabelled=images.x[:11])) is None
    assert directions_of(replace(feature_set(np.ones((4, 3)), [0, 0, 1, 1]), unlabelled=np.ones((9, 3)))) is None


def test_discriminants_see_the_directions_alone(rng):
    train = few_of(sparse_features(rng, 60), 3)
    (weight, bias), directions = fit_discriminants(train, np.ones(4))[0].layers[0], directions_of(train)
    np.testing.assert_allclose(weight @ directions @ directions.T, weight, atol=1e-3 * np.abs(weight).max())
    assert np.isfinite(bias).all()
    (other, _) = fit_discriminants(replace(train, unlabelled=None), np.ones(4))[0].layers[0]
    assert not np.allclose(other @ directions @ directions.T, other, atol=1e-2 * np.abs(other).max())


def test_with_few_labels_they_help(rng):
    images, held_out = sparse_features(rng, 80), sparse_features(rng, 100)
    right = {True: [], False: []}
    for seed in range(6):
        train = few_of(images, 2, seed)
        for knows in right:
            head, _ = fit_discriminants(train if knows else replace(train, unlabelled=None), np.ones(4))
            right[knows].append(accuracy(head.logits(held_out.x).argmax(axis=1), held_out.y))
    assert np.mean(right[True]) > np.mean(right[False])


@pytest.mark.parametrize("number", [2, 5])
def test_a_pool_of_few_images_has_few_directions(number):
    x = np.eye(8, dtype=np.float32)
    train = replace(feature_set(x[:2], [0, 1]), unlabelled=x[2 : 2 + number])
    assert directions_of(train).shape == (8, 2 + number)
