"""Decodes the bytes of an image file to upright 8-bit RGB, the same for every stage."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import ExifTags, Image

from stages.graft.core.errors import DataError, one_line
from stages.graft.core.memory import PIXELS, take
from stages.graft.images.blocks import check_blocks
from stages.graft.images.dicom import open_dicom
from stages.graft.images.formats import (
    FORMATS,
    HEIF,
    check_first_page,
    check_pixels,
    is_dicom,
    is_heif,
    register_heif,
    tile_size,
)
from stages.graft.images.jpeg import is_jpeg, load_jpeg
from stages.graft.images.real_kind import real_kind
from stages.graft.images.white_level import deep_values, is_deep_grey, note_deep_colour, to_8_bits

Batch = npt.NDArray[np.uint8]
"""Images of one size, shape (n, h, w, 3), uint8; one image without the n."""

MAX_PIXELS = 178_956_970
"""The most that any limit allows, in pixels: Pillow's own limit (twice its warning level)."""

BAND_PIXELS = 2**20
"""Pixels that are converted at once: the temporary copies stay small, whatever the size of the image."""

BYTES_PER_PIXEL, DEEP_BYTES_PER_PIXEL = 16, 32
"""The most that decoding needs at once for each pixel, with 8 bits in each colour and with more."""

CODEC_BYTES_PER_PIXEL = {"WEBP": 24, "JPEG2000": 24, "AVIF": 24, HEIF: 24}
"""The same of formats whose decoders make copies of their own."""

Image.core.set_block_size(2**26)  # type: ignore[attr-defined]  # the system gets back what is over 32 MiB, at once

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the turn that undoes it; 1 needs none."""


def decode(data: bytes, white_level: float | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file fully.

    Transparent pixels show a white ground; an image that is transparent everywhere keeps its colours.

    Args:
        data: the file's bytes, in one of FORMATS, as HEIC or as DICOM.
        white_level: the value that becomes white in grey of more than 8 bits and in colours of 16; None: 65535.
        max_pixels: of a larger image nothing is decoded; at most MAX_PIXELS.
    Returns:
        The image in mode RGB, turned as its EXIF orientation says.
    Raises:
        DataError: empty, truncated, too large or not an image; the message is the reason alone, without a path.
    """
    return decode_opened(open_whole(data, max_pixels), data, white_level)


def decode_opened(image: Image.Image, data: bytes, white_level: float | None = None) -> Image.Image:
    """Decode as `decode` does an image that `open_whole` gave; `data` are the file's bytes."""
    is_done = image.mode == "RGB" and not (image.has_transparency_data or image.info.get("deep_colour"))
    rgb = image if is_done else Image.fromarray(rgb_pixels(image, data, white_level))
    turn = turn_of(image)
    return rgb if turn is None else rgb.transpose(turn)


def rgb_pixels(image: Image.Image, data: bytes, white_level: float | None = None) -> Batch:
    """Give the pixels of an image that `open_whole` gave, not turned; errors and `white_level` are those of `decode`.

    They are converted band by band: what is transparent, or has more bits, needs no copy of the whole image.
    """
    with refusals(data):
        values = None if white_level is None else deep_values(image, data)
        if values is None and is_deep_grey(image):
            values = np.asarray(image)
        if values is not None:
            image = Image.fromarray(to_8_bits(values, white_level))
        to_rgb = _over_white if image.has_transparency_data and _shows_anything(image) else _without_alpha
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        top = 0
        for band in _bands(image):
            pixels[top : top + band.height] = np.asarray(to_rgb(band))
            top += band.height
    return pixels


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    """Cut an image in horizontal bands; a small one is given as it is."""
    rows = max(1, BAND_PIXELS // image.width)
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _shows_anything(image: Image.Image) -> bool:
    """Whether any pixel is not fully transparent."""
    return any(band.convert("RGBA").getchannel("A").getextrema() != (0, 0) for band in _bands(image))


def _without_alpha(image: Image.Image) -> Image.Image:
    return (image.convert("RGBA") if image.has_transparency_data else image).convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def is_image(data: bytes) -> bool:
    """Say whether bytes begin like an image file, of ALL_FORMATS; the rest may be damaged."""
    if is_dicom(data) or is_heif(data):
        return True
    try:
        with _no_warnings():
            check_blocks(data)
            Image.open(io.BytesIO(data), formats=FORMATS).close()
    except PIL.UnidentifiedImageError:
        return False
    except Exception:  # a bomb, or a decoder that failed on a damaged header
        return True
    return True


def open_whole(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image file and load every pixel, in the file's own mode and orientation; errors are those of `decode`.

    This is the one verdict on a file: every stage decodes by it, or by `jpeg.jpeg_pixels`, which it calls.
    """
    with refusals(data):
        return load_opened(open_header(data, max_pixels), data)


def load_opened(image: Image.Image, data: bytes) -> Image.Image:
    """Load every pixel of an image that `open_header` gave, and give the image; errors are Pillow's own."""
    if is_jpeg(image):
        return load_jpeg(image, data)
    is_deep = is_deep_grey(image) or image.info.get("deep_colour")
    each = DEEP_BYTES_PER_PIXEL if is_deep else CODEC_BYTES_PER_PIXEL.get(str(image.format), BYTES_PER_PIXEL)
    take(PIXELS, max(image.width * image.height, prod(tile_size(image))) * each)
    image.load()
    return image


@contextmanager
def refusals(data: bytes) -> Iterator[None]:
    """Turn each error on a file that cannot be opened or decoded into a DataError with the reason."""
    try:
        with _no_warnings():
            yield
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"over the limit of {MAX_PIXELS / 1e6:.0f} megapixels") from None
    except PIL.UnidentifiedImageError:
        raise DataError(real_kind(data)) from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(f"damaged or truncated: {one_line(error)}") from None


def open_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image file without loading its pixels; a DataError if empty, too large or of a kind that needs a package
    which is not installed, else Pillow's own errors."""
    if not data:
        raise DataError("the file has zero bytes")
    with _no_warnings():  # odd metadata is no reason to refuse pixels; the bomb limit is checked below
        if is_dicom(data):
            return open_dicom(data, max_pixels)
        if is_heif(data):
            register_heif()
        check_blocks(data)
        image = Image.open(io.BytesIO(data), formats=(HEIF,) if is_heif(data) else FORMATS)
        check_first_page(image)
        note_deep_colour(image)
    check_pixels(image.width, image.height, max_pixels)
    check_pixels(*tile_size(image), max_pixels)
    return image


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Give the turn that makes a loaded image upright; None if it is upright, or has unreadable metadata."""
    try:
        with _no_warnings():
            return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # many kinds; damaged metadata is no reason to refuse pixels
        return None


def resize_and_crop(
    image: Image.Image, resize_px: int, crop_px: int, interpolation: str = "bilinear"
) -> npt.NDArray[np.uint8]:
    """Scale the shorter side to `resize_px` and cut the middle square of `crop_px`, in one step.

    Pixels outside the square are never touched. Antialiased, as in torchvision's own transforms.

    Args:
        image: mode RGB.
        resize_px: the shorter side after scaling, in pixels, at least `crop_px`.
        crop_px: side of the square, in pixels.
        interpolation: bilinear or bicubic.
    Returns:
        shape (crop_px, crop_px, 3), uint8.
    """
    if image.size == (crop_px, crop_px) and resize_px == crop_px:
        return np.asarray(image)
    side = crop_px * min(image.size) / resize_px  # of the square, in the image's own pixels
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((crop_px, crop_px), Image.Resampling[interpolation.upper()], box=box))


_quiet_lock = threading.Lock()
_quiet_threads: list[Any] = []
"""The one open catch_warnings, once for each thread inside."""


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence warnings, also with several threads inside: `catch_warnings` alone restores the wrong filters then."""
    with _quiet_lock:
        if not _quiet_threads:
            catch = warnings.catch_warnings()
            catch.__enter__()
            warnings.simplefilter("ignore")
        else:
            catch = _quiet_threads[-1]
        _quiet_threads.append(catch)
    try:
        yield
    finally:
        with _quiet_lock:
            catch = _quiet_threads.pop()
            if not _quiet_threads:
                catch.__exit__(None, None, None)
