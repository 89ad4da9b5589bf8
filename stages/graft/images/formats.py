"""Formats of image files: which are read, and which need another package."""

import re
from functools import cache
from importlib import import_module
from types import ModuleType

from PIL import Image

from stages.graft.core.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
"""Formats that Pillow reads; of a file with several pages or frames, the first. PPM stands for PGM and PBM too."""

HEIF, DICOM = "HEIF", "DICOM"
"""Formats that other packages read, when they are installed."""

ALL_FORMATS = (*FORMATS, HEIF, DICOM)

_MAX_BOX_BYTES = 4096
"""Longest list of brands at the beginning of a HEIC file that is read."""

_CODESTREAM = b"\xff\x4f\xff\x51"
"""How JPEG 2000 begins, inside of what it is packed in; its size follows."""

_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))


def is_heif(data: bytes) -> bool:
    """Say whether a file is a HEIC photo by its beginning."""
    if data[4:8] != b"ftyp":
        return False
    box = data[8 : min(int.from_bytes(data[:4], "big"), _MAX_BOX_BYTES)]
    brands = {box[start : start + 4] for start in range(0, len(box), 4)}
    return bool(brands & _HEIF_BRANDS) and not brands & {b"avif", b"avis"}


def is_dicom(data: bytes) -> bool:
    """Say whether a file is a DICOM file by its beginning."""
    return data[128:132] == b"DICM"


@cache
def register_heif() -> None:
    """Teach Pillow to read HEIC; a DataError says what to install."""
    import_optional("pillow_heif", "pillow-heif", "a HEIC photo").register_heif_opener()


def import_optional(module: str, package: str, kind: str) -> ModuleType:
    """Import a package that only some formats need; a DataError says what to install."""
    try:
        return import_module(module)
    except ImportError:
        raise DataError(f"{kind}; `pip install {package}` makes it readable") from None


def jpeg_2000_pixels(data: bytes) -> int:
    """Give the pixels that JPEG 2000 claims, also inside DICOM; 0 for other files; Source: ITU-T T.800, A.5.1."""
    if not (data.startswith((b"\0\0\0\x0cjP  ", _CODESTREAM)) or is_dicom(data)):
        return 0
    starts = [found.end() for found in re.finditer(re.escape(_CODESTREAM), data)]
    return max((int.from_bytes(data[k + 4 : k + 8]) * int.from_bytes(data[k + 8 : k + 12]) for k in starts), default=0)


def check_first_page(image: Image.Image) -> None:
    """Refuse a TIFF whose first page is not the image: raw photos and tiled slides begin with a small preview."""
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and int(tags.get(254, 0)) & 1:
        raise DataError("its first page is only a preview, as in a raw photo; export it as TIFF or PNG")


def tile_size(image: Image.Image) -> tuple[int, int]:
    """Give width and height of the tiles of a TIFF, each of which is decoded whole, in pixels; (0, 0) for others."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return int(tags.get(322, 0)), int(tags.get(323, 0))


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image of too many pixels, with a DataError."""
    if width * height > max_pixels:
        raise DataError(
            f"{width}x{height} pixels are over the limit of {max_pixels / 1e6:.10g} megapixels "
            "(`ingest.max_megapixels`); save it smaller"
        )
