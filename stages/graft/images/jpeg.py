"""JPEG files by libjpeg-turbo: what it warns of is damage, at every scale alike.

Most decoders fill what is missing with grey and say nothing. simplejpeg gives the same pixels as OpenCV and Pillow, at
least as fast, and raises an error where libjpeg warns.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.core.memory import PIXELS, take

SCALES = (8, 4, 2, 1)
"""A JPEG can be decoded at an eighth, a quarter or a half of its size."""

MAX_SCAN_PIXELS = 2_500_000_000
"""Number of scans times number of pixels: each scan of a progressive file goes over the whole image."""

UNUSUAL_SAMPLING = (
    "a JPEG that samples its colours in an unusual way, so that damage would not be noticed; save it again"
)

_FRAMES, _PROGRESSIVE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}, frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_SCAN, _END, _WITHOUT_LENGTH = 0xDA, 0xD9, frozenset((0x01, 0xD8, 0xD9))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends the data of a scan: a marker other than a restart."""

_COEFFICIENT_BYTES = 6
"""Bytes for each pixel of a file of several scans, which libjpeg keeps whole: two for each of three colours."""

_BYTES_PER_PIXEL, _OTHER_BYTES = 7, 16
"""Bytes for each pixel, decoded by libjpeg-turbo and as a Pillow image; and of a file that Pillow decodes."""


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What the header of a JPEG says."""

    size: tuple[int, int]
    """Width and height, in pixels."""
    has_several_scans: bool
    """Whether the pixels are put together from several scans, as in a progressive file."""
    scan: int
    """Where the first scan begins, in bytes."""


def is_jpeg(image: Image.Image) -> bool:
    """Say whether an opened file is a JPEG; a photo with a preview in the same file is Pillow's MPO."""
    return image.format in ("JPEG", "MPO")


def jpeg_pixels(image: Image.Image, data: bytes, scale: int = 1) -> npt.NDArray[np.uint8]:
    """Decode a whole JPEG that Pillow has opened, in mode RGB or L.

    Args:
        image: the opened file; it is not loaded.
        data: the file's bytes.
        scale: one of SCALES.
    Returns:
        RGB, shape (h, w, 3), uint8; the sides are those of the file, divided by `scale` and rounded up.
    Raises:
        DataError: the file is damaged: libjpeg cannot decode it, or warns of it; or it samples its colours in an
            unusual way, which Pillow alone decodes, without saying what is damaged.
    """
    return _decode(image, data, scale, "RGB")


def load_jpeg(image: Image.Image, data: bytes) -> Image.Image:
    """Decode a JPEG that Pillow has opened, in its own mode (RGB, L or CMYK); errors are those of `jpeg_pixels`."""
    if image.mode not in ("RGB", "L"):
        take(PIXELS, _OTHER_BYTES * image.width * image.height)
        _decode(image, data, SCALES[0], "CMYK")  # for the verdict; Pillow knows how Adobe inverts the colours
        image.load()
        return image
    pixels = _decode(image, data, 1, "RGB" if image.mode == "RGB" else "GRAY")
    loaded = Image.fromarray(pixels if image.mode == "RGB" else pixels[..., 0])
    loaded.info, loaded.format = image.info, image.format
    return loaded


def _decode(image: Image.Image, data: bytes, scale: int, colours: str) -> npt.NDArray[np.uint8]:
    frame, (width, height) = _frame(data), image.size
    if frame.size != image.size:
        raise DataError("damaged or truncated: it has several sizes")
    if frame.has_several_scans:
        _check_scans(data, frame)
    data = _with_known_version(data)
    coefficients = frame.has_several_scans * _COEFFICIENT_BYTES * width * height
    take(PIXELS, coefficients + width * height * _BYTES_PER_PIXEL // scale**2)
    least = {"min_height": -(-height // scale), "min_width": -(-width // scale), "min_factor": scale}
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours, **least)
    except ValueError as error:
        if "subsampling" in str(error):  # libjpeg-turbo's simple interface knows the seven ways of today's programs
            raise DataError(UNUSUAL_SAMPLING) from None
        raise
    return pixels


def _frame(data: bytes) -> _Frame:
    """Read the header up to the first scan."""
    size, num_colours, is_progressive = (0, 0), 0, False
    for marker, start, stop in _segments(data, 2):
        if marker in _FRAMES and num_colours == 0:
            size = int.from_bytes(data[start + 3 : start + 5]), int.from_bytes(data[start + 1 : start + 3])
            num_colours, is_progressive = data[start + 5] if stop > start + 5 else 1, marker in _PROGRESSIVE
        elif marker == _SCAN and stop > start:
            several = is_progressive or data[start] < num_colours
            return _Frame(size=size, has_several_scans=several, scan=start)
    raise DataError("damaged or truncated: no image data")


def _check_scans(data: bytes, frame: _Frame) -> None:
    """Refuse a file whose many scans would take minutes, as no program writes it."""
    width, height = frame.size
    max_scans, num_scans = MAX_SCAN_PIXELS // max(1, width * height), 1
    for marker, _, _ in _segments(data, frame.scan):
        num_scans += marker == _SCAN
        if num_scans > max_scans:
            raise DataError(f"over {max_scans} scans of {width}x{height} pixels; save it again")
        if marker == _END:
            return


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Give the marker of each segment from a position on, and where its content begins and ends, in bytes."""
    while found := _MARKER.search(data, position):
        marker, start = data[found.start() + 1], found.end() + 2
        if marker in _WITHOUT_LENGTH:
            position = found.end()
            yield marker, position, position
            continue
        position = max(start, found.end() + int.from_bytes(data[found.end() : start]))
        yield marker, start, min(position, len(data))


def _with_known_version(data: bytes) -> bytes:
    """Let a file of another version of JFIF be one of version 1: libjpeg warns of the number, which changes nothing."""
    if data[6:11] == b"JFIF\0" and data[11:12] != b"\1":
        return data[:11] + b"\1" + data[12:]
    return data
