import numpy as np
import pandas as pd
import pytest

from stages.graft.evaluation.feature_map import make_map, map_table
from tests.support.features import sparse_features


def test_images_of_a_class_lie_together(rng):
    images = sparse_features(rng, 25)
    places = make_map(images.x, 0)
    assert places.tsne.shape == places.pca.shape == (100, 2)
    assert 0 < places.explained < 1
    gaps = np.square(places.tsne[:, None] - places.tsne).sum(axis=2) + np.diag(np.full(100, np.inf))
    assert (images.y[gaps.argmin(axis=1)] == images.y).mean() > 0.9


def test_a_seed_gives_the_same_bits(rng):
    x = sparse_features(rng, 10).x
    first, second = make_map(x, 0), make_map(x, 0)
    assert first.tsne.tobytes() == second.tsne.tobytes()
    assert first.pca.tobytes() == second.pca.tobytes()


@pytest.mark.parametrize("num_images", [3, 5])
def test_a_handful_of_images_is_enough(num_images, rng):
    assert np.isfinite(make_map(sparse_features(rng, 2).x[:num_images], 0).tsne).all()


@pytest.mark.parametrize("num_images", [3, 80])
def test_equal_images_lie_on_one_point(num_images):
    places = make_map(np.ones((num_images, 40), np.float32), 0)
    assert (np.ptp(places.tsne), np.ptp(places.pca), places.explained) == (0, 0, 0)
    assert places.tsne.shape == places.pca.shape == (num_images, 2)


def test_many_equal_images_among_others_have_their_place(rng):
    x = sparse_features(rng, 10).x
    x[:30] = x[0]
    assert np.isfinite(make_map(x, 0).tsne).all()


def test_the_table(rng):
    places = make_map(sparse_features(rng, 1).x, 0)
    images = pd.DataFrame({"id": list("abcd"), "file": "f", "label": list("wxyz"), "split": "val"}, index=[9, 8, 7, 6])
    table = map_table(places, images, list("wxyy"))
    assert table.columns.to_list() == ["id", "label", "predicted", "split", "tsne_x", "tsne_y", "pca_x", "pca_y"]
    assert table["predicted"].to_list() == list("wxyy")
    np.testing.assert_allclose(table[["pca_x", "pca_y"]], places.pca, atol=6e-4)
