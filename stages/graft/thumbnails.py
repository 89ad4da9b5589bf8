"""Small copies of images as text that a page can hold: JPEG in a data address, bounded in pixels and in bytes."""

import base64
import io
from pathlib import Path

from PIL import Image

from stages.graft.errors import DataError
from stages.graft.images import FORMATS, open_header, to_rgb, turn_upright
from stages.graft.manifest import image_path

SIDE_PX = 192
"""Of the longer side, at most."""

MAX_BYTES = 12_000
"""Of a file; a noisier image is packed harder."""

QUALITIES = (82, 60, 35, 15)
"""JPEG's, tried in turn."""


def thumbnail_address(folder: Path, id_: str) -> str | None:
    """Give a small copy of an image as a data address; None when the image is not here, or cannot be read.

    Args:
        folder: of the images.
        id_: the image's.
    """
    paths = (image_path(folder, id_, format_) for format_ in FORMATS)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    try:
        return data_address(thumbnail(path.read_bytes()), "image/jpeg")
    except (DataError, OSError):
        return None


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
