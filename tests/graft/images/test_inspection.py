import numpy as np
import pytest
from PIL import Image

from stages.graft.images.inspection import inspect, is_blank
from tests.support.pictures import encoded, pixels


@pytest.mark.parametrize(
    ("low", "high", "num_others", "expected"),
    [(100, 100, 0, True), (100, 102, 0, True), (100, 103, 0, False), (0, 0, 9, True), (0, 0, 12, False)],
    ids=["one colour", "nearly", "more", "a few hot pixels", "a small thing"],
)
def test_an_image_is_blank_when_its_levels_are_close(low, high, num_others, expected):
    image = np.full((100, 100, 3), low, np.uint8)
    image[50:] = high
    image[0, :num_others] = 255  # of 10,000 pixels one in a thousand, 10, is ignored
    assert is_blank(Image.fromarray(image)) is expected


def test_an_image_is_not_blank_when_one_colour_shows_something():
    image = np.full((10, 10, 3), 255, np.uint8)
    image[:5, :, 2] = 0
    assert not is_blank(Image.fromarray(image))


def test_12_bits_taken_for_16_are_blank():
    values = np.random.default_rng(0).normal(2100, 10, (50, 50)).astype(np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    assert inspect(data).is_blank
    assert not inspect(data, 2200).is_blank


@pytest.mark.parametrize(
    ("format_", "expected"), [("TIFF", True), ("GIF", True), ("WEBP", True), ("PNG", True), ("MPO", False)]
)
def test_a_file_with_more_pages_is_noticed(format_, expected):
    assert inspect(encoded(pixels(1), format_, save_all=True, append_images=[pixels(2)])).is_multipage is expected
    assert not inspect(encoded(pixels(1), "JPEG" if format_ == "MPO" else format_)).is_multipage
