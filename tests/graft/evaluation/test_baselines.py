from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.evaluation.baselines import (
    PIXELS_PX,
    _lowest,
    predict_baselines,
    predict_majority,
    predict_neighbours,
    read_pixels,
)
from tests.support.features import feature_set, ids_of
from tests.support.pictures import photograph


def test_the_majority_is_the_commonest_class():
    assert predict_majority(np.array([0, 1, 1, 2]), 3, 2).tolist() == [[0.25, 0.5, 0.25]] * 2


def test_five_neighbours_vote():
    train = feature_set([[0], [1], [2], [10], [11], [12], [13]], [0, 0, 0, 1, 1, 1, 1])
    p = predict_neighbours(train, np.array([[1], [11], [6]], dtype=np.float32))
    np.testing.assert_allclose(p, [[0.6, 0.4], [0.2, 0.8], [0.6, 0.4]], atol=1e-5)  # of 6: 2, 10, 1, 11 (a tie) and 0


def test_the_lowest_values_are_those_of_a_stable_sort(rng):
    values = rng.integers(0, 5, (50, 30)).astype(np.float32)  # many are equal
    np.testing.assert_array_equal(_lowest(values, 7), np.argsort(values, axis=1, kind="stable")[:, :7])
    np.testing.assert_array_equal(_lowest(values, 30), np.argsort(values, axis=1, kind="stable"))


def test_of_equal_votes_the_nearest_wins():
    train = feature_set([[0], [1], [3], [4]], [0, 1, 1, 0])
    assert predict_neighbours(train, np.array([[-1], [1.1]], dtype=np.float32)).argmax(axis=1).tolist() == [0, 1]


def test_many_images_are_scored_in_blocks(rng):
    train = feature_set(rng.normal(size=(50, 4)), rng.integers(0, 3, 50))
    x = rng.normal(size=(1300, 4)).astype(np.float32)
    whole = predict_neighbours(train, x)
    np.testing.assert_allclose(whole[1000:], predict_neighbours(train, x[1000:]), atol=1e-9)


@pytest.fixture
def locate(tmp_path):
    """Files of 24 images: every other one is bright on its left half."""
    for number, id_ in enumerate(ids_of(24)):
        grey = np.random.default_rng(number).integers(0, 60, (40, 60), dtype=np.uint8)
        grey[:, :30] += 150 * (number % 2)
        Image.fromarray(grey).save(tmp_path / f"{id_}.png")
    return lambda id_: tmp_path / f"{id_}.png"


def test_pixels_are_grey_and_small(locate):
    pixels = read_pixels(ids_of(24)[:2], locate).reshape(2, PIXELS_PX, PIXELS_PX)
    assert pixels.dtype == np.float32
    assert pixels[0].mean() == pytest.approx(30, abs=3)
    assert pixels[1, :, :15].mean() == pytest.approx(180, abs=3)
    with pytest.raises(DataError, match=r"nowhere.png: .*`dvc checkout`"):
        read_pixels(["nowhere"], locate)


@pytest.mark.parametrize("size", [(400, 400), (1600, 80), (90, 1300)])
def test_pixels_of_a_large_jpeg_are_those_of_all_its_pixels(tmp_path, size):
    """Though it is decoded at a part of its size where its shorter side allows that."""
    image = photograph(3, *size)
    image.save(tmp_path / "image.jpg", quality=95)
    image.save(tmp_path / "image.png")
    jpeg, png = (read_pixels([f"image.{end}"], lambda name: tmp_path / name) for end in ("jpg", "png"))
    assert np.abs(jpeg - png).mean() < 2
    mean = np.asarray(image.convert("L").resize((PIXELS_PX, PIXELS_PX), Image.Resampling.BOX), dtype=np.float32)
    assert np.abs(png - mean.ravel()).mean() < 10


def test_all_baselines_classify_every_test_image(locate, rng):
    y = np.arange(24) % 2
    images = feature_set(rng.normal(size=(24, 5)) + 4 * y[:, None], y, ("dark", "NA"))
    train, val, test = (
        replace(images, ids=images.ids[rows], x=images.x[rows], y=images.y[rows])
        for rows in (slice(0, 12), slice(12, 16), slice(16, 24))
    )
    table = predict_baselines(train, val, test, locate, pd.Series(images.ids))
    assert list(table) == ["majority", "pixels", "neighbours"]
    for column in table.values():
        assert column.to_list()[:16] == [""] * 16
    assert table["pixels"].to_list()[16:] == table["neighbours"].to_list()[16:] == ["dark", "NA"] * 4
    assert table["majority"].to_list()[16:] == ["dark"] * 8  # six of each: the first
