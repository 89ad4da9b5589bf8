"""The recipe, followed with Pillow and OpenCV alone, gives the same pixels as Graft."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from stages.graft.images.crop import decode_square
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.bundle import load_bundle
from stages.graft.model.input_recipe import recipe
from tests.support.bundles import CLASSES


@pytest.fixture(scope="module")
def rule(bundle_folder):
    return load_bundle(bundle_folder).rule


def preprocessing(resize_px, crop_px, interpolation):
    return Preprocessing(
        resize_px=resize_px, crop_px=crop_px, interpolation=interpolation, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )


def followed(data, told):
    """The steps, by the numbers beside them."""
    image = Image.open(io.BytesIO(data))
    is_jpeg = image.format == "JPEG"
    pixels = np.asarray((image if is_jpeg else ImageOps.exif_transpose(image)).convert("RGB"))
    h, w = pixels.shape[:2]
    s = max(1, round(told["crop_px"] * min(h, w) / told["resize_px"]))
    top, left = (h - s) // 2, (w - s) // 2
    pixels, px = pixels[top : top + s, left : left + s], told["input"]["shape"][1]
    if s < px and told["interpolation"] == "bilinear":
        pixels = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_LINEAR)
    elif s != px:
        resampling = Image.Resampling[told["interpolation"].upper()]
        pixels = np.asarray(Image.fromarray(pixels).resize((px, px), resampling))
    turned = Image.fromarray(pixels)
    if is_jpeg:
        turned.getexif()[0x0112] = image.getexif().get(0x0112, 1)
        turned = ImageOps.exif_transpose(turned)
    return np.asarray(turned)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(97, 64), (50, 81), (64, 64), (61, 60), (30, 30)])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_the_recipe_gives_the_same_pixels(rule, rng, interpolation, format_, size, turn):
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    image.save(file, format_, exif=exif)
    p = preprocessing(64, 56, interpolation)
    told = recipe(p, rule)
    np.testing.assert_array_equal(
        followed(file.getvalue(), told), decode_square(file.getvalue(), 64, 56, interpolation)
    )


def test_a_large_jpeg_is_told_of(rule):
    told = recipe(preprocessing(64, 56, "bilinear"), rule)
    assert "2, 4 or 8 times 128," in told["prepare"][-1]
    assert told["classes"] == list(CLASSES)
    assert json.loads(json.dumps(told)) == told
