"""The square of an image that a network sees: decoded no larger than needed, then squashed, padded or cropped.

A JPEG, on which most of the time goes, is decoded at a part of its size by the decoder that reads it whole in ingest
(`jpeg`), so that it is damaged in both or in none.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import version

import cv2
import numpy as np
import PIL
import simplejpeg
from PIL import Image

from stages.graft.images.decode import MAX_PIXELS, Batch, load_opened, open_header, refusals, rgb_pixels, turn_of
from stages.graft.images.formats import DICOM, HEIF
from stages.graft.images.jpeg import SCALES, is_jpeg, jpeg_pixels
from stages.graft.images.preprocessing import Fit, Preprocessing

DECODER = f"pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}, opencv {cv2.__version__}, squares 2"
"""Part of every feature's fingerprint: decoders differ in pixels. Increase the last number, the version of this file,
with any change that alters a pixel."""

_OPTIONAL_DECODERS = {HEIF: "pillow-heif", DICOM: "pydicom"}


_TRANSPARENCY = "transparency 2"
"""Version of what becomes of transparent pixels."""

_OPAQUE_MODES = frozenset(("1", "L", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B", "I;16L"))
"""Pillow's modes whose pixels are never transparent everywhere."""


def decoder_of(formats: Iterable[str], modes: Iterable[str]) -> str:
    """Name what decodes a set of files: DECODER, and what only some of their formats and modes need.

    So a change for a few kinds of files does not ask for the features of all others again.
    """
    packages = sorted(_OPTIONAL_DECODERS[name] for name in {*formats} & _OPTIONAL_DECODERS.keys())
    transparency = [_TRANSPARENCY] if {*modes} - _OPAQUE_MODES else []
    return ", ".join([DECODER, *transparency, *(f"{package} {version(package)}" for package in packages)])


REDUCING_GAP = 2
"""A JPEG may be decoded at a half, a quarter or an eighth while that is so many times larger than what is wanted: the
value Pillow's own thumbnails take for a result close to fair resampling."""

cv2.setNumThreads(1)  # images are decoded side by side, each by one thread


def decode_square(data: bytes, p: Preprocessing, max_pixels: int = MAX_PIXELS) -> Batch:
    """Decode an image and make it the square that the network sees, as `p.fit` says.

    Pixels that a crop leaves out are not resized; its edges lie on whole pixels of what was decoded. Antialiased, as in
    torchvision's own transforms.

    Args:
        data: the file's bytes, in one of `formats.ALL_FORMATS`.
        p: white level, fit, sizes and interpolation; nothing is normalised.
        max_pixels: as in `images.decode`.
    Returns:
        shape (crop_px, crop_px, 3), uint8, upright as the file's EXIF data say.
    Raises:
        DataError: as in `images.decode`.
    """
    side_of = max if p.fit == "pad" else min
    pixels, turn = _decode(data, least_px(p), side_of, p.white_level, max_pixels)
    square = _FITS[p.fit](pixels, p)
    # Turned last: the middle stays the middle, and there are fewer pixels to move.
    return square if turn is None else np.asarray(Image.fromarray(square).transpose(turn))


def least_px(p: Preprocessing) -> int:
    """Give the length in pixels that the deciding side must keep when a JPEG is decoded at a part of its size.

    The deciding side is the longer one for pad, else the shorter one.
    """
    return REDUCING_GAP * (p.resize_px if p.fit == "crop" else p.crop_px)


def decode_whole(data: bytes, longer_px: int, white_level: float | None = None) -> Batch:
    """Decode an image upright and uncropped; a JPEG no larger than needed for its longer side to become `longer_px`.

    Args:
        data: the file's bytes, in one of `formats.ALL_FORMATS`.
        longer_px: the longer side that is wanted, in pixels; the image is not scaled to it.
        white_level: as in `images.decode`.
    Returns:
        shape (h, w, 3), uint8.
    Raises:
        DataError: as in `images.decode`.
    """
    pixels, turn = _decode(data, REDUCING_GAP * longer_px, max, white_level)
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _decode(
    data: bytes,
    least_px: int,
    side_of: Callable[[tuple[int, int]], int],
    white_level: float | None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Batch, Image.Transpose | None]:
    """Pixels and the turn they still need; a JPEG may be smaller than the file says.

    The side that must not become smaller than `least_px` is the shorter or the longer one: min or max.
    """
    with refusals(data):
        image = open_header(data, max_pixels)
        if is_jpeg(image) and image.mode in ("RGB", "L"):
            scale = next((scale for scale in SCALES if side_of(image.size) >= scale * least_px), 1)
            return jpeg_pixels(image, data, scale), turn_of(image)
        image = load_opened(image, data)
    pixels, turn = rgb_pixels(image, data, white_level), turn_of(image)
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn)), None


def _squash(pixels: Batch, p: Preprocessing) -> Batch:
    return _resize(pixels, (p.crop_px, p.crop_px), p.interpolation)


def _crop(pixels: Batch, p: Preprocessing) -> Batch:
    side = max(1, round(p.crop_px * min(pixels.shape[:2]) / p.resize_px))
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return _squash(pixels[top : top + side, left : left + side], p)


def _pad(pixels: Batch, p: Preprocessing) -> Batch:
    """Fill the rest with the mean colour of the network's normalisation, which is zero in its input."""
    longer = max(pixels.shape[:2])
    height, width = (max(1, round(p.crop_px * side / longer)) for side in pixels.shape[:2])
    if height == width:
        return _squash(pixels, p)
    top, left = (p.crop_px - height) // 2, (p.crop_px - width) // 2
    square = np.empty((p.crop_px, p.crop_px, 3), np.uint8)
    square[:] = fill_colour(p)
    square[top : top + height, left : left + width] = _resize(pixels, (height, width), p.interpolation)
    return square


def fill_colour(p: Preprocessing) -> tuple[int, int, int]:
    """Give the RGB colour, 0 to 255, beside an image that is padded."""
    red, green, blue = (round(255 * value) for value in p.mean)
    return red, green, blue


_FITS: dict[Fit, Callable[[Batch, Preprocessing], Batch]] = {"squash": _squash, "pad": _pad, "crop": _crop}


def _resize(pixels: Batch, size: tuple[int, int], interpolation: str) -> Batch:
    """Scale to (height, width); where nothing shrinks, plain bilinear is the antialiased one, OpenCV's the quicker."""
    height, width = size
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    if pixels.shape[0] <= height and pixels.shape[1] <= width and interpolation == "bilinear":
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    resampling = Image.Resampling[interpolation.upper()]
    return np.asarray(Image.fromarray(pixels).resize((width, height), resampling))
