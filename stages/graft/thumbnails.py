"""Small copies of images as text that a page can hold: JPEG in a data address, bounded in pixels and in bytes."""

import base64
import io
from collections.abc import Callable
from functools import cache

from PIL import Image

from stages.graft.addresses import Place, read_place
from stages.graft.buckets import UnreachableError
from stages.graft.errors import DataError
from stages.graft.images import open_header, to_rgb, turn_upright

SIDE_PX = 192
"""Of the longer side, at most."""

MAX_BYTES = 12_000
"""Of a file; a noisier image is packed harder."""

QUALITIES = (82, 60, 35, 15)
"""JPEG's, tried in turn."""


def thumbnails_of(path_of: Callable[[str], Place]) -> Callable[[str], str | None]:
    """Give the function from an id to a small copy of the image as a data address, made once.

    It gives None when the image is not here or cannot be read; where a place cannot be reached, none is asked again.

    Args:
        path_of: where an image is.
    Raises:
        ChangedError: from that function, when an image in place has changed since it was ingested.
    """
    unreachable = False

    @cache  # an error is often among the least sure
    def thumbnail_address(id_: str) -> str | None:
        nonlocal unreachable
        try:
            if not unreachable:
                return data_address(thumbnail(read_place(path_of(id_))), "image/jpeg")
        except UnreachableError:
            unreachable = True
        except (DataError, OSError):
            pass
        return None

    return thumbnail_address


def thumbnail(data: bytes) -> bytes:
    """Shrink an image file to a JPEG of at most SIDE_PX a side and, where that can be had, MAX_BYTES.

    Raises:
        DataError, OSError: the image is damaged.
    """
    image = _reduced(data)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    packed = b""
    for quality in QUALITIES:
        packed = _jpeg(image, quality)
        if len(packed) <= MAX_BYTES:
            break
    return packed


def data_address(data: bytes, kind: str) -> str:
    """Write bytes as an address that holds them.

    Args:
        data: a file's bytes.
        kind: its media type, such as image/png.
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _reduced(data: bytes) -> Image.Image:
    """Decode upright; a large JPEG no larger than is needed."""
    image = open_header(data)
    if image.format == "JPEG":
        image.draft(image.mode, (2 * SIDE_PX, 2 * SIDE_PX))
    return to_rgb(turn_upright(image))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
