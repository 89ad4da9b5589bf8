import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from stages.graft.core.errors import DataError
from stages.graft.images.decode import decode, is_image
from stages.graft.images.formats import jpeg_2000_pixels
from stages.graft.images.inspection import inspect
from tests.support.pictures import encoded, pixels

register_heif_opener()  # to write
SMOOTH = Image.fromarray(np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)).convert("RGB")
TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("format_", "options"), [("PPM", {}), ("JPEG2000", {"irreversible": False}), ("WEBP", {"lossless": True})]
)
def test_lossless_formats_give_back_their_pixels(format_, options):
    data = encoded(pixels(1, 64, 48), format_, **options)
    assert decode(data).tobytes() == pixels(1, 64, 48).tobytes()
    assert inspect(data).format == format_


@pytest.mark.parametrize("format_", ["AVIF", "HEIF"])
def test_photos_look_the_same_and_are_turned_once(format_):
    data = encoded(SMOOTH, format_, quality=95, exif=TURNED.tobytes())
    expected = np.asarray(SMOOTH.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(np.asarray(decode(data)) - expected).max() < 12
    assert (inspect(data).format, inspect(data).width, inspect(data).height) == (format_, 48, 64)
    assert is_image(data)


def test_grey_maps_of_any_depth_are_scaled_by_their_own_white():
    header = b"P5 4 1 4095\n"
    values = np.array([0, 1365, 2730, 4095], ">u2")
    assert np.asarray(decode(header + values.tobytes()))[0, :, 0].tolist() == [0, 85, 170, 255]


@pytest.mark.parametrize("format_", ["AVIF", "HEIF", "JPEG2000", "PPM"])
def test_half_a_file_is_refused(format_):
    data = encoded(pixels(3, 64, 48), format_)
    with pytest.raises(DataError, match=r"damaged|truncated"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(("options", "size"), [({"no_jp2": True}, (30, 20)), ({}, (31, 7))])
def test_the_size_of_jpeg_2000_wherever_it_is_packed(options, size):
    data = encoded(pixels(1, *size), "JPEG2000", **options)
    assert jpeg_2000_pixels(data) == size[0] * size[1]
    assert jpeg_2000_pixels(bytes(128) + b"DICM" + data) == size[0] * size[1]
    assert jpeg_2000_pixels(data + b"\xff\x4f\xff\x51" + bytes(4) + b"\0\0\x10\0" * 2) == 4096**2  # the largest claim
    assert jpeg_2000_pixels(encoded(pixels(1, 9, 9), "PNG") + data) == 0
    assert jpeg_2000_pixels(b"\xff\x4f\xff\x51") == 0
