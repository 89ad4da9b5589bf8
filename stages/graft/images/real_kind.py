"""What a file really is that is no image in a known format, and what to do about it."""

import re
from collections.abc import Sequence

from stages.graft.images.formats import ALL_FORMATS

_AS_PNG = "save it as PNG or TIFF"
_FRAMES = "save the frames that you need as images"
_COPY = "copy it again"
_UNPACK = "unpack it"
_AGAIN = "download the image itself"

_BEGINNINGS: Sequence[tuple[bytes, str, str]] = (
    (rb"version https://git-lfs", "a Git-LFS pointer", "`git lfs pull` fetches the image"),
    (rb"(/annex/objects/|\.\./.*\.git/annex/objects/)", "a git-annex pointer", "`git annex get` fetches the image"),
    (rb"outs:\s*\n-\s*(md5|etag|hash|path)", "a DVC pointer", "`dvc pull` fetches the image"),
    (rb"%PDF-", "a PDF", "save its pages as PNG"),
    (rb"%!PS", "a PostScript drawing", "save it as PNG"),
    (rb"(\x00\x00\x00.|....)ftyp(avif|avis)", "an AVIF image, damaged or truncated", _COPY),
    (rb"....ftypcrx", "a raw photo", "export it as TIFF or PNG"),
    (rb"FUJIFILMCCD-RAW", "a raw photo", "export it as TIFF or PNG"),
    (rb"....(ftyp|moov|mdat)|RIFF....AVI |\x1aE\xdf\xa3|FLV|\x00\x00\x01[\xba\xb3]|0&\xb2u|OggS", "a video", _FRAMES),
    (rb"RIFF....WAVE|ID3|fLaC", "a sound", "leave it out"),
    (rb"PK\x03\x04|PK\x05\x06", "a zip file (or an Office document)", _UNPACK),
    (rb"Rar!|7z\xbc\xaf|\x1f\x8b|\xfd7zXZ|BZh", "an archive", _UNPACK),
    (rb"8BPS", "a Photoshop file", _AS_PNG),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image", _AS_PNG),
    (rb"v/1\x01", "an OpenEXR image", _AS_PNG),
    (rb"#\?RADIANCE|#\?RGBE", "a Radiance HDR image", _AS_PNG),
    (rb"\x93NUMPY", "a NumPy array", _AS_PNG),
    (rb"\x89HDF", "an HDF5 file", _AS_PNG),
    (rb"MATLAB 5", "a MATLAB file", _AS_PNG),
    (rb"SIMPLE  =", "a FITS image", _AS_PNG),
    (rb"\x00\x00[\x01\x02]\x00", "an icon", _AS_PNG),
    (rb"DDS ", "a DDS texture", _AS_PNG),
    (rb"[\x02\x08]\x00[\x00\x05\x08\x10\x16]\x00", "a DICOM file without its beginning", "`dcmconv` adds it"),
    (rb"\x00\x05\x16\x07", "what macOS keeps beside a file, not the image", "delete it"),
    (rb"\xd0\xcf\x11\xe0", "a Windows document or thumbnail list", "leave it out"),
    (rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+", "a TIFF of a kind that is not read (bands, colour in floats)",
     "save it with 8 or 16 bits, in grey or RGB"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM....\x00|RIFF....WEBP", "an image, damaged or truncated at its beginning", _COPY),
)  # fmt: skip
"""How files begin, as patterns; what they are; and what to do."""

_TEXTS: Sequence[tuple[bytes, str, str]] = (
    (rb"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", "an HTML page", _AGAIN),
    (rb".*<svg\b", "an SVG drawing", "save it as PNG"),
    (rb"\s*<", "an XML text", _AGAIN),
    (rb"\s*[{\[]", "a JSON text", _AGAIN),
    (rb"data:image|\s*(/9j/|iVBORw0KGgo)", "an image as base64 text", "decode it to a file"),
    (rb"", "a text file", _AGAIN),
)
"""The same for texts, whatever their suffix."""

_LOOKED_AT = 4096
"""Bytes at the beginning of a file that decide what it is."""


def real_kind(data: bytes) -> str:
    """Say what a file that is no image in a known format really is, and what to do."""
    start = data[:_LOOKED_AT]
    if len(start) > _LOOKED_AT // 8 and not start.strip(b"\x00"):
        return "holds only zeros, as after a failed copy; copy it again"
    kinds = [*_BEGINNINGS, *(_TEXTS if _is_text(start) else ())]
    for begin, kind, cure in kinds:
        if re.match(begin, start, re.DOTALL):
            return f"{kind}; {cure}" if "image" in kind else f"not an image but {kind}; {cure}"
    return f"not an image in a known format ({', '.join(ALL_FORMATS)})"


def _is_text(start: bytes) -> bool:
    """Whether bytes read as text: UTF-8, or UTF-16 with its mark, without control characters."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data" or not error.start:  # else the end cuts a character in two
            return False
        text = start[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\n\r\f\ufeff" for character in text)
