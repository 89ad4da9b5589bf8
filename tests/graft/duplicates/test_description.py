import cv2
import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.duplicates.codebook import MIRRORED, read_codebook, summarise
from stages.graft.duplicates.description import (
    DESCRIPTOR_SCALE,
    LEAST_CONTRAST,
    NUM_POINTS,
    PATTERN_PX,
    ROW,
    band_pass,
    describe,
    description_of,
)
from tests.support.scenes import png_of, scene


def test_a_row_holds_what_is_compared():
    rows = describe(png_of(scene(0)))
    assert (rows.shape, rows.dtype) == ((1,), ROW)
    assert ROW.itemsize % 4 == 0  # the store keeps rows of float32
    found = description_of(rows[0])
    assert found.pattern.shape == (80, PATTERN_PX)
    assert 20 < len(found.points) <= NUM_POINTS
    assert found.points.dtype == found.pattern.dtype == np.float32
    lengths = np.linalg.norm(rows["descriptors"][0, : len(found.points)].astype(float), axis=1)
    assert lengths == pytest.approx(DESCRIPTOR_SCALE, rel=0.02)  # of a root of shares that are 1 in all
    assert not rows["descriptors"][0, len(found.points) :].any()
    assert rows["contrast"] > LEAST_CONTRAST


def test_an_image_depends_on_its_pixels_alone():
    picture = scene(1)
    bmp = cv2.imencode(".bmp", picture)[1].tobytes()
    assert describe(png_of(picture)).tobytes() == describe(bmp).tobytes()
    changed = picture.copy()
    changed[0, 0, 0] ^= 1
    assert (describe(png_of(changed))["pixels"] != describe(bmp)["pixels"]).any()


def test_a_mirror_image_has_the_same_summary():
    descriptors = np.random.default_rng(0).random((40, 128)).astype(np.float32)
    assert summarise(descriptors) == pytest.approx(summarise(descriptors[:, MIRRORED]), abs=1e-3)
    assert np.linalg.norm(summarise(descriptors).astype(float)) == pytest.approx(1, abs=1e-3)
    assert sorted(MIRRORED) == list(range(128))
    assert not summarise(np.zeros((0, 128), np.float32)).any()


def test_light_and_contrast_leave_the_pattern_as_it_is():
    grey = scene(2)[..., 0] // 2
    pattern, brighter = band_pass(grey, 0.7, 3.0), band_pass(grey + 90, 0.7, 3.0)
    assert np.abs(pattern - brighter).max() < 1e-3


@pytest.mark.parametrize("deviation", [0, 1])
def test_an_image_without_contrast_is_plain(deviation):
    noise = np.random.default_rng(0).normal(120, deviation, (100, 120, 3))
    assert describe(png_of(noise.astype(np.uint8)))["contrast"] < LEAST_CONTRAST


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 2), (16, 16)])
def test_small_and_thin_images_are_described(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    description_of(describe(png_of(picture))[0])


def test_a_small_image_is_enlarged_four_times_at_most():
    picture = np.random.default_rng(0).integers(0, 256, (16, 12, 3)).astype(np.uint8)
    found = description_of(describe(png_of(picture))[0])
    assert found.pattern.shape == (64, 48)
    assert (found.points.max(axis=0) <= (47.5, 63.5)).all()
    assert 10 < len(found.points) <= 1 + 16 * 12 // 5


def test_a_damaged_image_is_an_error():
    with pytest.raises(DataError):
        describe(b"no image")


def test_the_codebook_is_the_one_that_the_code_expects():
    book = read_codebook()
    assert (book.mean.shape, book.components.shape, book.centres.shape) == ((128,), (128, 48), (48, 48))
    assert (book.whitening_mean.shape, book.whitening.shape) == ((2304,), (2304, 256))
