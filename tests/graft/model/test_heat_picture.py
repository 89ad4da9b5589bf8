"""Boxes and pictures of known heat maps, for every fit."""

from dataclasses import replace

import numpy as np
import pytest

from stages.graft.images.preprocessing import Preprocessing, seen_region
from stages.graft.model.heat_picture import MAX_PX, Box, box_of, draw_heat, heat_over

SQUASH = Preprocessing(resize_px=8, crop_px=8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3, fit="squash")
CROP, PAD = replace(SQUASH, fit="crop"), replace(SQUASH, fit="pad")


def hot(rows, columns):
    heat = np.zeros((8, 8), np.float32)
    heat[rows, columns] = 1
    return heat


def test_the_region_that_is_seen():
    assert seen_region(SQUASH, 40, 20) == (0, 0, 40, 20)
    assert seen_region(CROP, 40, 20) == (10, 0, 30, 20)
    assert seen_region(replace(CROP, resize_px=16), 40, 20) == (15, 5, 25, 15)
    assert seen_region(PAD, 40, 20) == (0, -10, 40, 30)


@pytest.mark.parametrize(
    ("p", "rows", "box"),
    [
        (SQUASH, slice(2, 6), (160, 40, 240, 120)),
        (CROP, slice(2, 6), (160, 40, 200, 120)),
        (PAD, slice(0, 3), (160, 0, 240, 40)),
    ],
)
def test_the_box_is_around_the_hot_area_in_the_images_pixels(p, rows, box):
    found = box_of(hot(rows, slice(4, 6)), 320, 160, p)
    np.testing.assert_allclose((found.left, found.top, found.right, found.bottom), box, atol=8)


def test_of_two_areas_the_larger_one_has_the_box():
    heat = hot(slice(0, 2), slice(0, 2)) + hot(slice(4, 8), slice(4, 8))
    found = box_of(heat, 80, 80, SQUASH)
    assert found.left >= 35
    assert found.top >= 35


def test_a_constant_heat_map_gives_a_box_around_all_that_is_seen():
    assert box_of(np.zeros((8, 8), np.float32), 40, 20, CROP) == Box(left=10, top=0, right=30, bottom=20)
    assert box_of(np.zeros((8, 8), np.float32), 1, 1, SQUASH) == Box(left=0, top=0, right=1, bottom=1)


@pytest.mark.parametrize("p", [SQUASH, CROP, PAD])
def test_heat_lies_where_the_network_looked(p):
    over = heat_over(hot(slice(0, 8), slice(0, 8)) - hot(0, 0), 41, 20, p)
    assert over.shape == (20, 41)
    assert over[:, :9].any() == (p is not CROP)
    assert over[10, 20] == 1


def test_cold_places_keep_their_pixels_and_large_images_become_smaller(rng):
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    drawn = np.asarray(draw_heat(pixels, hot(7, 7), SQUASH))
    assert np.array_equal(drawn[:10, :20], pixels[:10, :20])
    assert not np.array_equal(drawn[18:, 27:], pixels[18:, 27:])
    assert draw_heat(np.zeros((4, 3000, 3), np.uint8), hot(1, 1), SQUASH).width == MAX_PX
