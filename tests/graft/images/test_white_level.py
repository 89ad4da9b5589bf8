import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.images.decode import decode
from stages.graft.images.inspection import inspect
from stages.graft.images.white_level import deep_range, to_8_bits
from tests.support.pictures import encoded

GREY_12 = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def grey(data: bytes, white_level: float | None) -> np.ndarray:
    return np.asarray(decode(data, white_level))[..., 0]


def png_16(rgb: np.ndarray) -> bytes:
    """A PNG with 16 bits in each colour, which Pillow cannot write."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(rgb[..., [2, 1, 0, 3][: rgb.shape[2]]]))
    assert done
    return data.tobytes()


def tiff_16(rgb: np.ndarray, orientation: int) -> bytes:
    """A plain TIFF with 16 bits in each colour."""
    height, width, channels = rgb.shape
    end = 8 + 2 * channels + rgb.nbytes
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 273: 8 + 2 * channels, 274: orientation, 277: channels}
    tags |= {278: height, 279: rgb.nbytes}
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 3 if tag == 258 else 1, value)
                       for tag, value in tags.items())  # fmt: skip
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    head = struct.pack("<2sHI", b"II", 42, end) + bits + rgb.astype("<u2").tobytes()
    return head + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_without_a_white_level_16_bits_are_divided_by_257():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(to_8_bits(values, None), values // 257)
    np.testing.assert_array_equal(to_8_bits(values, 65535), values // 257)


@pytest.mark.parametrize(
    ("dtype", "white_level", "values", "expected"),
    [
        (np.uint16, 4095, [0, 2048, 4094, 4095, 5000], [0, 127, 254, 255, 255]),
        (np.uint16, 255, [0, 1, 128, 255, 256], [0, 1, 128, 255, 255]),
        (np.int32, 1_000_000, [-5, 0, 500_000, 1_000_000], [0, 0, 127, 255]),
        (np.float32, 1.0, [-0.1, 0.0, 0.5, 1.0, 1.5], [0, 0, 127, 255, 255]),
        (np.float32, 0.5, [0.25, 0.5], [127, 255]),
        (np.uint16, 1000.5, [1000, 500], [254, 127]),
    ],
)
def test_the_white_level_becomes_white(dtype, white_level, values, expected):
    assert to_8_bits(np.array([values], dtype), white_level).tolist() == [expected]


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_12_bits_in_a_16_bit_file_are_seen_with_their_white_level(format_):
    data = encoded(Image.fromarray(GREY_12), format_)
    assert grey(data, None).max() == 15
    np.testing.assert_array_equal(grey(data, 4095), GREY_12.astype(int) * 255 // 4095)


def test_8_bits_in_a_32_bit_file_are_seen_with_their_white_level():
    data = encoded(Image.fromarray((GREY_12 % 256).astype(np.int32)), "TIFF")
    assert grey(data, None).max() == 0
    np.testing.assert_array_equal(grey(data, 255), GREY_12 % 256)


def test_floats_are_read_with_a_white_level_only():
    data = encoded(Image.fromarray((GREY_12 / 4095).astype(np.float32)), "TIFF")
    with pytest.raises(DataError, match=r"floating-point pixels \(up to 1\) .* set `ingest.white_level`"):
        decode(data)
    assert (grey(data, 1.0).min(), grey(data, 1.0).max()) == (0, 255)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(DataError, match="no numbers"):
        to_8_bits(np.array([[0.5, value]], np.float32), 1.0)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_use_all_of_their_bits_with_a_white_level(channels):
    colours = np.stack([GREY_12, GREY_12.T, GREY_12[::-1], np.full_like(GREY_12, 65535)][:channels], axis=2)
    data = png_16(colours)
    np.testing.assert_array_equal(np.asarray(decode(data)), colours[..., :3] >> 8)
    np.testing.assert_array_equal(np.asarray(decode(data, 4095)), colours[..., :3].astype(int) * 255 // 4095)
    assert inspect(data).deep.largest == 4095


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colours_of_16_bits_are_turned_once(orientation):
    colours = np.arange(18, dtype=np.uint16).reshape(2, 3, 3) * 257
    data = tiff_16(colours, orientation)
    np.testing.assert_array_equal(np.asarray(decode(data, 65535)), np.asarray(decode(data)))


def test_a_white_level_leaves_8_bits_as_they_are():
    image = Image.fromarray((GREY_12 % 256).astype(np.uint8))
    assert decode(encoded(image, "PNG"), 4095).tobytes() == image.convert("RGB").tobytes()


def test_the_range_of_an_image():
    values = np.full((100, 100), 2000, np.uint16)
    values[0, 0] = 60000  # one hot pixel of 10,000
    found = deep_range(values, 4095)
    assert (found.largest, found.bright, found.is_float, found.clipped) == (60000, 2000, False, 1e-4)
    below = deep_range(np.array([[-1.0, 0.0, 1.0, 2.0]], np.float32), 1.0)
    assert (below.clipped, below.is_float) == (0.5, True)
