"""Small files that ask for much memory or time, made without their pixels where that is possible.

Every file shows one colour. Sides are in pixels.
"""

import io
import re
import struct
import zlib
from typing import Any

from PIL import Image

SIDE_PX, OVER_PX = 7000, 13_377
"""Sides of squares below the usual limit of 50 megapixels, and just below Pillow's own limit."""

NUM_SCANS = 882
"""Of the JPEG with many scans; programs write about ten."""

_PASSES = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
"""First row, step of rows, first column and step of columns of each pass of an interlaced PNG."""


def png(side_px: int, bits: int, colour_type: int, channels: int, interlaced: bool = False) -> bytes:
    """Make a PNG of zeros, with `bits` in each channel; Source: PNG specification, sections 8.2 and 9.2."""
    passes = _PASSES if interlaced else ((0, 1, 0, 1),)
    header = struct.pack(">IIBBBBB", side_px, side_px, bits, colour_type, 0, 0, interlaced)
    num_bytes = 0
    for top, row_step, left, column_step in passes:
        width = -(-(side_px - left) // column_step)
        num_bytes += -(-(side_px - top) // row_step) * (1 + -(-width * channels * bits // 8))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", _zeros(num_bytes)) + _chunk(b"IEND", b"")


def gif(side_px: int) -> bytes:
    """Make a GIF of one pixel on a large canvas, the rest of which is transparent."""
    canvas, pixel = struct.pack("<HH", side_px, side_px), struct.pack("<HHHH", 0, 0, 1, 1)
    transparent = b"\x21\xf9\x04\x01\0\0\1\0"
    return b"GIF89a" + canvas + b"\x80\0\0" + bytes(6) + transparent + b"\x2c" + pixel + b"\0\x02\x02\x44\x01\0;"


def saved(mode: str, side_px: int, format_: str, **options: Any) -> bytes:
    """Save an image of one colour by Pillow."""
    file = io.BytesIO()
    Image.new(mode, (side_px, side_px)).save(file, format_, **options)
    return file.getvalue()


def jpeg_of_many_scans(side_px: int, num_scans: int = NUM_SCANS) -> bytes:
    """Make a grey progressive JPEG in which every scan says, in a few bytes, that nothing changes.

    Its first scan has the brightness of the blocks; then each further coefficient is sent bit by bit, all zero: runs of
    2^14 blocks without one. Source: ITU-T T.81, sections G.1.2.2 and G.1.2.3.

    Args:
        side_px: a multiple of 1024: then the blocks are so many whole runs.
        num_scans: at most 882.
    """
    plain = saved("L", side_px, "JPEG", progressive=True)
    first = plain.index(b"\xff\xda")
    end = re.compile(rb"\xff[^\x00]").search(plain, first + 2)
    table = b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + b"\1" + bytes(15) + b"\xe0"
    num_bits = 15 * (side_px // 1024) ** 2  # a code of one bit, and 14 bits for what the run is longer
    runs = bytes(num_bits // 8) + bytes([0xFF >> num_bits % 8] if num_bits % 8 else [])
    order = [(low, k) for low in range(13, -1, -1) for k in range(1, 64)][:num_scans]
    scans = b"".join(
        b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, k, k, (low + 1) % 14 << 4 | low) + runs for low, k in order
    )
    return plain[: end.start() if end else first] + table + scans + b"\xff\xd9"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _zeros(num_bytes: int) -> bytes:
    pack, block = zlib.compressobj(9), bytes(2**20)
    full, rest = divmod(num_bytes, len(block))
    return b"".join([pack.compress(block) for _ in range(full)]) + pack.compress(bytes(rest)) + pack.flush()
