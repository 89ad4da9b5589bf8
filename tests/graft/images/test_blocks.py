import struct
import time
import zlib

import pytest

from stages.graft.core.errors import DataError
from stages.graft.images.decode import decode, is_image
from stages.graft.images.formats import FORMATS
from tests.support.pictures import encoded, pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_many_chunks(number: int) -> bytes:
    data = encoded(pixels(1), "PNG")
    return data[:33] + chunk(b"abCd", b"") * number + data[33:]


def gif_of_many_blocks(number: int) -> bytes:
    data = encoded(pixels(1), "GIF")
    start = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[:start] + b"\x21\xfe" + b"\x01x" * number + b"\0" + data[start:]


@pytest.mark.parametrize("make", [png_of_many_chunks, gif_of_many_blocks])
def test_a_million_tiny_blocks_are_refused_at_once(make):
    data, start = make(1_000_000), time.thread_time()
    with pytest.raises(DataError, match=r"over \d+ blocks in \d+ bytes; save it again"):
        decode(data)
    assert is_image(data)
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("make", [png_of_many_chunks, gif_of_many_blocks])
def test_some_are_usual(make):
    assert decode(make(500)).size == (12, 10)


@pytest.mark.parametrize("format_", FORMATS)
def test_no_file_as_programs_write_it_has_too_many(format_):
    assert decode(encoded(pixels(7, 700, 500), format_)).size == (700, 500)
