"""The recipe, followed with Pillow and OpenCV alone, gives the same pixels as Graft."""

import io
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from stages.graft.images.crop import decode_square
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.bundle import load_bundle
from stages.graft.model.input_recipe import recipe
from tests.support.bundles import CLASSES

COLOUR = re.compile(r"of the colour (\[[^]]*\])")


@pytest.fixture(scope="module")
def rule(bundle_folder):
    return load_bundle(bundle_folder).rule


def preprocessing(resize_px, crop_px, interpolation, fit):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
    return Preprocessing(resize_px=resize_px, crop_px=crop_px, interpolation=interpolation, mean=mean, std=std, fit=fit)


def scaled(pixels, rows, columns, told):
    h, w = pixels.shape[:2]
    if (h, w) == (rows, columns):
        return pixels
    if told["interpolation"] == "bilinear" and h <= rows and w <= columns:
        return cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR)
    resampling = Image.Resampling[told["interpolation"].upper()]
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), resampling))


def padded(pixels, px, told):
    h, w = pixels.shape[:2]
    a, b = (max(1, round(px * side / max(h, w))) for side in (h, w))
    square = np.zeros((px, px, 3), np.uint8) + np.uint8(json.loads(COLOUR.search(" ".join(told["prepare"]))[1]))
    top, left = (px - a) // 2, (px - b) // 2
    square[top : top + a, left : left + b] = scaled(pixels, a, b, told)
    return square


def followed(data, told):
    """The steps, by the numbers beside them."""
    image = Image.open(io.BytesIO(data))
    is_jpeg = image.format == "JPEG"
    pixels = np.asarray((image if is_jpeg else ImageOps.exif_transpose(image)).convert("RGB"))
    px = told["input"]["shape"][1]
    if told["fit"] == "squash":
        pixels = scaled(pixels, px, px, told)
    elif told["fit"] == "pad":
        pixels = padded(pixels, px, told)
    else:
        h, w = pixels.shape[:2]
        s = max(1, round(told["crop_px"] * min(h, w) / told["resize_px"]))
        top, left = (h - s) // 2, (w - s) // 2
        pixels = scaled(pixels[top : top + s, left : left + s], px, px, told)
    turned = Image.fromarray(pixels)
    if is_jpeg:
        turned.getexif()[0x0112] = image.getexif().get(0x0112, 1)
        turned = ImageOps.exif_transpose(turned)
    return np.asarray(turned)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(97, 64), (50, 81), (64, 64), (61, 60), (30, 30)])
@pytest.mark.parametrize("turn", [1, 3, 6])
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_the_recipe_gives_the_same_pixels(rule, rng, interpolation, format_, size, turn, fit):
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    image.save(file, format_, exif=exif)
    p = preprocessing(64, 56, interpolation, fit)
    told = recipe(p, rule)
    np.testing.assert_array_equal(followed(file.getvalue(), told), decode_square(file.getvalue(), p))


@pytest.mark.parametrize("white_level", [None, 4095.0, 100.5])
def test_the_recipe_tells_what_is_white(rule, rng, white_level):
    values = rng.integers(0, 4096, (56, 56), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    p = replace(preprocessing(56, 56, "bilinear", "crop"), white_level=white_level)
    told = recipe(p, rule)
    assert told["white_level"] == white_level
    if white_level is None:
        assert "16-bit grey divided by 257 without remainder" in told["prepare"][0]
        expected = values // 257
    else:
        assert f"times 255, divided by {white_level:g}, rounded down" in told["prepare"][0]
        expected = np.floor(values.astype(int) * 255 / told["white_level"]).clip(0, 255)
    np.testing.assert_array_equal(decode_square(file.getvalue(), p)[..., 1], expected)


@pytest.mark.parametrize(
    ("fit", "sentence"),
    [
        ("crop", "where min(h, w) is at least 2, 4 or 8 times 128,"),
        ("squash", "where min(h, w) is at least 2, 4 or 8 times 112,"),
        ("pad", "where max(h, w) is at least 2, 4 or 8 times 112,"),
    ],
)
def test_a_large_jpeg_is_told_of(rule, fit, sentence):
    told = recipe(preprocessing(64, 56, "bilinear", fit), rule)
    assert sentence in told["prepare"][-1]
    assert told["classes"] == list(CLASSES)
    assert told["fit"] == fit
    assert json.loads(json.dumps(told)) == told
