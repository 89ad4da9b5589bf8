"""Squares: OpenCV's pixels are Pillow's, a reduced JPEG is Pillow's draft, and each fit shows what it should."""

import io
from dataclasses import replace
from importlib.metadata import version
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages.graft.core.errors import DataError
from stages.graft.images import crop
from stages.graft.images.crop import DECODER, decode_square, decoder_of
from stages.graft.images.decode import decode, resize_and_crop
from stages.graft.images.preprocessing import Fit, Preprocessing
from tests.support.pictures import encoded, photograph, pixels

FITS = get_args(Fit)


def cropped(resize_px: int, crop_px: int, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(
        resize_px=resize_px, crop_px=crop_px, interpolation=interpolation, mean=(0.5, 0.4, 0.3), std=(0.2,) * 3
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"progressive": True}], ids=["444", "420", "progressive"])
def test_a_jpeg_of_the_right_size_gives_pillows_pixels(mode, options):
    if mode == "CMYK":
        options = options | {"subsampling": 0}  # Pillow would sample black in an unusual way
    data = encoded(photograph(0, 64, 64).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(decode_square(data, cropped(64, 64)), np.asarray(decode(data)))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_large_jpeg_is_decoded_at_the_scale_that_pillows_draft_takes(scale, monkeypatch):
    data = encoded(photograph(1, 1024, 1040), "JPEG")
    drafted = Image.open(io.BytesIO(data))
    drafted.draft(None, (1024 // scale, 1040 // scale))
    size_px = 1024 // scale // crop.REDUCING_GAP
    whole = np.asarray(drafted.convert("RGB"))
    top = (whole.shape[0] - whole.shape[1]) // 2
    middle = Image.fromarray(whole[top : top + whole.shape[1]])
    expected = middle.resize((size_px, size_px), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode_square(data, cropped(size_px, size_px)), np.asarray(expected))


def test_a_reduced_jpeg_looks_like_the_whole_one():
    image = photograph(2, 900, 700).filter(ImageFilter.GaussianBlur(2))
    data = encoded(image, "JPEG", quality=95)
    difference = decode_square(data, cropped(128, 112)).astype(int) - resize_and_crop(decode(data), 128, 112)
    assert np.abs(difference).mean() < 2
    assert np.abs(difference).max() < 24


def test_enlarging_is_pillows_bilinear_to_one_level():
    data = encoded(photograph(3, 50, 50), "PNG")
    difference = decode_square(data, cropped(80, 80)).astype(int) - resize_and_crop(decode(data), 80, 80)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shrinking_is_pillows_antialiased_resampling(interpolation):
    image = photograph(4, 90, 90)
    expected = image.resize((40, 40), Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(
        decode_square(encoded(image, "PNG"), cropped(40, 40, interpolation)), np.asarray(expected)
    )


def test_the_middle_of_the_longer_side_is_kept():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert (decode_square(encoded(Image.fromarray(wide), "PNG"), cropped(10, 10)) == 255).all()
    assert (decode_square(encoded(Image.fromarray(wide), "PNG"), cropped(10, 6)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_upright_as_decode_makes_it(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(5, 64, 64), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode_square(data, cropped(64, 64)), np.asarray(decode(data)))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (2000, 3)])
def test_the_smallest_images_become_whole_squares(size):
    found = decode_square(encoded(Image.new("RGB", size, "red"), "PNG"), cropped(256, 224))
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
        decode_square(data, cropped(32, 32))


def belt(format_: str = "PNG") -> bytes:
    """400 x 64 pixels: red at the left end, green in the middle square, blue at the right end."""
    strip = np.zeros((64, 400, 3), np.uint8)
    for channel, columns in enumerate((slice(0, 168), slice(168, 232), slice(232, 400))):
        strip[:, columns, channel] = 255
    return encoded(Image.fromarray(strip), format_, **({"quality": 100, "subsampling": 0} if format_ == "JPEG" else {}))


def test_a_crop_sees_the_middle_of_a_belt_alone():
    found = decode_square(belt(), cropped(64, 64))
    assert (found == (0, 255, 0)).all()


def test_a_squashed_belt_shows_its_ends_and_its_middle():
    found = decode_square(belt(), replace(cropped(80, 50), fit="squash"))
    assert found.shape == (50, 50, 3)
    assert (found[:, :20] == (255, 0, 0)).all()  # a column is 8 of the belt's: 168 / 8 = 21, less the filter's reach
    assert (found[:, 23:27] == (0, 255, 0)).all()
    assert (found[:, 30:] == (0, 0, 255)).all()


def test_a_padded_belt_keeps_its_shape_in_the_middle_of_the_mean_colour():
    found = decode_square(belt(), replace(cropped(80, 50), fit="pad"))
    assert found.shape == (50, 50, 3)
    assert (found[:21] == (128, 102, 76)).all()  # 64 / 8 = 8 rows in the middle of 50; 255 * (0.5, 0.4, 0.3)
    assert (found[29:] == (128, 102, 76)).all()
    assert (found[21:29, :20] == (255, 0, 0)).all()
    assert (found[21:29, 23:27] == (0, 255, 0)).all()
    assert (found[21:29, 30:] == (0, 0, 255)).all()


@pytest.mark.parametrize("fit", FITS)
def test_a_tall_image_is_a_wide_one_turned(fit):
    tall = Image.open(io.BytesIO(belt())).transpose(Image.Transpose.TRANSPOSE)
    p = replace(cropped(80, 50), fit=fit)
    wide_square, tall_square = decode_square(belt(), p), decode_square(encoded(tall, "PNG"), p)
    np.testing.assert_array_equal(tall_square, wide_square.transpose(1, 0, 2))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [1, 17, 64, 90, 700])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_a_square_image_is_the_same_in_every_fit_where_there_is_no_margin(interpolation, side, format_):
    data = encoded(pixels(7, side, side), format_)
    crop_, *others = [decode_square(data, replace(cropped(64, 64, interpolation), fit=fit)) for fit in FITS[::-1]]
    for other in others:
        np.testing.assert_array_equal(other, crop_)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (2, 3), (31, 33), (32, 64), (999, 40)])
def test_images_of_every_size_become_squares(interpolation, fit, size):
    found = decode_square(
        encoded(Image.new("RGB", size, "red"), "PNG"), replace(cropped(36, 32, interpolation), fit=fit)
    )
    assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)
    is_red = (found == (255, 0, 0)).all(axis=2)
    if fit == "pad":
        shorter = max(1, round(32 * min(size) / max(size)))
        assert is_red.sum() == 32 * shorter
        assert (found[~is_red] == (128, 102, 76)).all()
    else:
        assert is_red.all()


@pytest.mark.parametrize(("fit", "scale"), [("crop", 2), ("squash", 4), ("pad", 8)])
def test_a_large_jpeg_is_reduced_as_far_as_both_sides_allow(fit, scale, monkeypatch):
    """1024 x 512 to 64 of 100: the shorter side keeps 200 pixels for a crop, 128 for squash; the longer 128 for pad."""
    read, scales = crop.jpeg_pixels, list[int]()
    monkeypatch.setattr(crop, "jpeg_pixels", lambda *a: scales.append(a[2]) or read(*a))
    decode_square(encoded(photograph(8, 1024, 512), "JPEG"), replace(cropped(100, 64), fit=fit))
    assert scales == [scale]


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_reduced_jpeg_looks_like_the_whole_one_in_every_fit(fit):
    image = photograph(9, 1200, 480).filter(ImageFilter.GaussianBlur(3))
    p = replace(cropped(64, 56), fit=fit)
    reduced = decode_square(encoded(image, "JPEG", quality=95), p).astype(int)
    assert np.abs(reduced - decode_square(encoded(image, "PNG"), p)).mean() < 2


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_upright_in_every_fit(fit, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(10, 64, 32), "JPEG", exif=exif)
    upright = encoded(decode(data), "PNG")
    p = replace(cropped(64, 64), fit=fit)  # nothing shrinks on one side, and the borders are even
    difference = decode_square(data, p).astype(int) - decode_square(upright, p)
    assert np.abs(difference).max() <= 1


def test_a_package_that_only_some_formats_need_is_part_of_the_decoder_for_them_alone():
    assert decoder_of(["PNG", "JPEG", "AVIF"], ["L", "RGB"]) == DECODER
    assert decoder_of(["HEIF", "PNG"], ["RGB"]) == f"{DECODER}, pillow-heif {version('pillow-heif')}"
    both = f"{DECODER}, transparency 2, pillow-heif {version('pillow-heif')}, pydicom {version('pydicom')}"
    assert decoder_of(["HEIF", "DICOM"], ["RGBA", "L"]) == both
