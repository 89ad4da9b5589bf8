"""Squares: OpenCV's pixels are Pillow's, a reduced JPEG is Pillow's draft, and the middle stays the middle."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages.graft.core.errors import DataError
from stages.graft.images import crop
from stages.graft.images.crop import decode_square
from stages.graft.images.decode import decode, resize_and_crop
from tests.support.pictures import encoded, pixels


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """An image with soft structure, as photographs have; noise would show every filter's smallest difference."""
    return pixels(seed, width // 4, height // 4).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"progressive": True}], ids=["444", "420", "progressive"])
def test_a_jpeg_of_the_right_size_gives_pillows_pixels(mode, options):
    data = encoded(photograph(0, 64, 64).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(decode_square(data, 64, 64), np.asarray(decode(data)))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_large_jpeg_is_decoded_at_the_scale_that_pillows_draft_takes(scale, monkeypatch):
    data = encoded(photograph(1, 1024, 1040), "JPEG")
    drafted = Image.open(__import__("io").BytesIO(data))
    drafted.draft(None, (1024 // scale, 1040 // scale))
    size_px = 1024 // scale // crop.REDUCING_GAP
    whole = np.asarray(drafted.convert("RGB"))
    top = (whole.shape[0] - whole.shape[1]) // 2
    middle = Image.fromarray(whole[top : top + whole.shape[1]])
    expected = middle.resize((size_px, size_px), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode_square(data, size_px, size_px), np.asarray(expected))


def test_a_reduced_jpeg_looks_like_the_whole_one():
    image = photograph(2, 900, 700).filter(ImageFilter.GaussianBlur(2))
    data = encoded(image, "JPEG", quality=95)
    difference = decode_square(data, 128, 112).astype(int) - resize_and_crop(decode(data), 128, 112)
    assert np.abs(difference).mean() < 2
    assert np.abs(difference).max() < 24


def test_enlarging_is_pillows_bilinear_to_one_level():
    data = encoded(photograph(3, 50, 50), "PNG")
    difference = decode_square(data, 80, 80).astype(int) - resize_and_crop(decode(data), 80, 80)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shrinking_is_pillows_antialiased_resampling(interpolation):
    image = photograph(4, 90, 90)
    expected = image.resize((40, 40), Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(decode_square(encoded(image, "PNG"), 40, 40, interpolation), np.asarray(expected))


def test_the_middle_of_the_longer_side_is_kept():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert (decode_square(encoded(Image.fromarray(wide), "PNG"), 10, 10) == 255).all()
    assert (decode_square(encoded(Image.fromarray(wide), "PNG"), 10, 6) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_upright_as_decode_makes_it(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(5, 64, 64), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode_square(data, 64, 64), np.asarray(decode(data)))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (2000, 3)])
def test_the_smallest_images_become_whole_squares(size):
    found = decode_square(encoded(Image.new("RGB", size, "red"), "PNG"), 256, 224)
    assert found.shape == (224, 224, 3)
    assert (found == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"),
        (b"text", "not an image"),
        (encoded(photograph(6, 64, 64), "JPEG")[:900], "damaged or truncated"),
        (encoded(photograph(6, 64, 64), "PNG")[:900], "damaged or truncated"),
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG"],
)
def test_a_damaged_file_is_refused_with_its_reason(data, reason):
    with pytest.raises(DataError, match=reason):
        decode_square(data, 32, 32)
