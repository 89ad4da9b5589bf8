"""Decodes the bytes of an image file to upright 8-bit RGB, the same for every stage."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import ExifTags, Image

from stages.graft.core.errors import DataError
from stages.graft.images.dicom import open_dicom
from stages.graft.images.formats import FORMATS, HEIF, check_first_page, is_dicom, is_heif, register_heif
from stages.graft.images.real_kind import real_kind
from stages.graft.images.white_level import deep_values, is_deep_grey, note_deep_colour, to_8_bits

Batch = npt.NDArray[np.uint8]
"""Images of one size, shape (n, h, w, 3), uint8; one image without the n."""

MAX_PIXELS = 178_956_970
"""Pillow's own limit against decompression bombs (twice its warning level), in pixels."""

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


def decode(data: bytes, white_level: float | None = None) -> Image.Image:
    """Decode an image file fully.

    Transparent pixels show a white ground; an image that is transparent everywhere keeps its colours.

    Args:
        data: the file's bytes, in one of FORMATS, as HEIC or as DICOM.
        white_level: the value that becomes white in grey of more than 8 bits and in colours of 16; None: 65535.
    Returns:
        The image in mode RGB, turned as its EXIF orientation says.
    Raises:
        DataError: empty, truncated, too large or not an image; the message is the reason alone, without a path.
    """
    return decode_opened(open_whole(data), data, white_level)


def decode_opened(image: Image.Image, data: bytes, white_level: float | None = None) -> Image.Image:
    """Decode as `decode` does an image that `open_whole` gave; `data` are the file's bytes."""
    turn = turn_of(image)
    values = None if white_level is None else deep_values(image, data)
    rgb = to_rgb(image if values is None else Image.fromarray(to_8_bits(values, white_level)), white_level)
    return rgb if turn is None else rgb.transpose(turn)


def is_image(data: bytes) -> bool:
    """Say whether bytes begin like an image file, of ALL_FORMATS; the rest may be damaged."""
    if is_dicom(data) or is_heif(data):
        return True
    try:
        with _no_warnings():
            Image.open(io.BytesIO(data), formats=FORMATS).close()
    except PIL.UnidentifiedImageError:
        return False
    except Exception:  # a bomb, or a decoder that failed on a damaged header
        return True
    return True


def open_whole(data: bytes) -> Image.Image:
    """Open an image file and load every pixel, in the file's own mode and orientation; errors are those of `decode`."""
    try:
        with _no_warnings():
            image = open_header(data)
            image.load()
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"over the limit of {MAX_PIXELS} pixels") from None
    except PIL.UnidentifiedImageError:
        raise DataError(real_kind(data)) from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(f"damaged or truncated: {' '.join(str(error).split()) or type(error).__name__}") from None
    return image


def open_header(data: bytes) -> Image.Image:
    """Open an image file without loading its pixels; a DataError if empty, too large or of a kind that needs a package
    which is not installed, else Pillow's own errors."""
    if not data:
        raise DataError("the file has zero bytes")
    with _no_warnings():  # odd metadata is no reason to refuse pixels; the bomb limit is checked below
        if is_dicom(data):
            return open_dicom(data, MAX_PIXELS)
        if is_heif(data):
            register_heif()
        image = Image.open(io.BytesIO(data), formats=(HEIF,) if is_heif(data) else FORMATS)
        check_first_page(image)
        note_deep_colour(image)
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{image.width}x{image.height} pixels are over the limit of {MAX_PIXELS}")
    return image


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Give the turn that makes a loaded image upright; None if it is upright, or has unreadable metadata."""
    try:
        with _no_warnings():
            return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # many kinds; damaged metadata is no reason to refuse pixels
        return None


def to_rgb(image: Image.Image, white_level: float | None = None) -> Image.Image:
    """Convert an image to 8-bit RGB; a DataError for floating-point or 32-bit values without a white level."""
    if is_deep_grey(image):
        return Image.fromarray(to_8_bits(np.asarray(image), white_level)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        if not over.getchannel("A").getextrema()[1]:  # nothing would be left of it
            return over.convert("RGB")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image


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
