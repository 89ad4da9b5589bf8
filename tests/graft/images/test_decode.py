import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from stages.graft.core.errors import DataError
from stages.graft.images.decode import decode, decode_opened, is_image, open_whole, resize_and_crop
from stages.graft.images.formats import FORMATS
from stages.graft.images.inspection import inspect
from tests.support.pictures import encoded, pixels

GREY = Image.new("L", (4, 2), 51)
RED = Image.new("RGB", (4, 2), (255, 0, 0))


def half_transparent(colour: tuple[int, int, int]) -> Image.Image:
    """The left half is transparent."""
    image = Image.new("RGBA", (4, 2), (*colour, 255))
    image.paste((*colour, 0), (0, 0, 2, 2))
    return image


def first(data: bytes) -> Any:
    return decode(data).getpixel((0, 0))


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_back_their_pixels(format_):
    assert decode(encoded(pixels(1), format_)).tobytes() == pixels(1).tobytes()


@pytest.mark.parametrize(
    ("image", "format_", "mode", "pixel"),
    [
        (Image.new("1", (4, 2), 1), "PNG", "1", (255, 255, 255)),
        (Image.new("1", (4, 2), 1), "TIFF", "1", (255, 255, 255)),
        (GREY, "PNG", "L", (51, 51, 51)),
        (GREY, "JPEG", "L", (51, 51, 51)),
        (Image.fromarray(np.full((2, 4), 51 * 257, np.uint16)), "PNG", "I;16", (51, 51, 51)),
        (Image.fromarray(np.full((2, 4), 65535, np.uint16)), "TIFF", "I;16", (255, 255, 255)),
        (Image.fromarray(np.full((2, 4), 51 * 257, np.int32)), "TIFF", "I", (51, 51, 51)),
        (RED.convert("P"), "PNG", "P", (255, 0, 0)),
        (RED.convert("P"), "GIF", "P", (255, 0, 0)),
        (half_transparent((255, 0, 0)), "PNG", "RGBA", (255, 255, 255)),
        (Image.new("RGBA", (4, 2), (255, 0, 0, 255)), "WEBP", "RGB", (255, 0, 0)),
        (Image.new("LA", (4, 2), (0, 51)), "PNG", "LA", (204, 204, 204)),
        (Image.new("CMYK", (4, 2), (0, 255, 255, 0)), "TIFF", "CMYK", (255, 0, 0)),
        (Image.new("CMYK", (4, 2), (0, 0, 0, 204)), "JPEG", "CMYK", (51, 51, 51)),
    ],
)
def test_every_mode_becomes_rgb(image, format_, mode, pixel):
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encoded(image, format_, **options)
    assert (inspect(data).format, inspect(data).mode) == (format_, mode)
    assert decode(data).mode == "RGB"
    np.testing.assert_allclose(first(data), pixel, atol=1)


def red_and_blue() -> Image.Image:
    image = RED.copy()
    image.paste((0, 0, 255), (2, 0, 4, 2))
    return image


def test_a_transparent_palette_colour_shows_white():
    image = red_and_blue().convert("P")
    data = encoded(image, "GIF", transparency=image.getpixel((0, 0)))
    assert (first(data), decode(data).getpixel((3, 0))) == ((255, 255, 255), (0, 0, 255))


def test_a_transparent_colour_of_an_rgb_file_shows_white():
    data = encoded(red_and_blue(), "PNG", transparency=(255, 0, 0))
    assert (first(data), decode(data).getpixel((3, 0))) == ((255, 255, 255), (0, 0, 255))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_that_is_transparent_everywhere_keeps_its_colours(mode):
    image = pixels(5, 8, 8).convert(mode)
    expected = image.convert("RGB").tobytes()
    image.putalpha(Image.new("L", (8, 8), 0))
    assert [decode(encoded(image, format_)).tobytes() for format_ in ("PNG", "TIFF")] == [expected, expected]


def test_a_palette_that_is_transparent_everywhere_keeps_its_colours():
    assert first(encoded(RED.convert("P"), "PNG", transparency=bytes(256))) == (255, 0, 0)


def test_only_the_first_frame_counts():
    data = encoded(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (4, 2), (0, 0, 255))])
    assert first(data) == (255, 0, 0)


def test_a_photo_with_a_second_picture_in_it_is_a_jpeg():
    data = encoded(RED, "MPO", save_all=True, append_images=[RED])
    assert inspect(data).format == "JPEG"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_are_turned_as_exif_says(orientation, format_):
    # a white left upper quarter, in the file; where it belongs follows from the EXIF table
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(stored).convert("RGB"), format_, exif=exif.tobytes())
    upright = np.asarray(decode(data).convert("L"))
    top, left = {1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)}[orientation]
    assert upright.shape == ((16, 32) if orientation < 5 else (32, 16))
    assert (inspect(data).height, inspect(data).width) == upright.shape
    y, x = (2 if top else -2), (2 if left else -2)
    assert upright[y, x] > 200
    assert upright[-y, x] < 50
    assert upright[y, -x] < 50


def test_damaged_exif_is_no_reason_to_refuse_pixels():
    data = encoded(RED, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    np.testing.assert_allclose(first(data), (255, 0, 0), atol=2)


@pytest.mark.parametrize("format_", FORMATS)
def test_truncated_files_are_refused(format_):
    data = encoded(pixels(2), format_)
    for length in (1, 10, len(data) // 2, len(data) - 25):
        with pytest.raises(DataError, match=r"damaged or truncated|not an image"):
            decode(data[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"),
        (encoded(Image.new("F", (2, 2)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(np.full((2, 4), 70000, np.int32)), "TIFF"), "70000"),
        (encoded(Image.fromarray(np.full((2, 4), -3, np.int32)), "TIFF"), "-3"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(DataError, match=reason):
        inspect(data)


def test_an_image_over_the_pixel_limit_is_refused_before_it_is_decoded():
    header = encoded(Image.new("1", (1, 1)), "BMP")
    bomb = header[:18] + (60_000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(
        DataError,
        match=r"60000x60000 pixels are over the limit of 178\.95697 megapixels|over the limit of 179 megapixels",
    ):
        decode(bomb)


def tiled(side_px: int) -> bytes:
    """A grey TIFF of 16 x 16 pixels in one tile of that side, of which 256 bytes are there."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: side_px, 323: side_px, 324: 136, 325: 256}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(136 - 10 - len(entries)) + bytes(range(256))


def test_tiles_of_a_tiff_count_as_pixels():
    assert decode(tiled(16)).getpixel((15, 15)) == (255, 255, 255)
    with pytest.raises(DataError, match="40000x40000 pixels are over the limit"):
        decode(tiled(40_000))


def test_a_large_image_below_the_limit_is_no_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # Pillow warns from here, refuses from twice that
    assert decode(encoded(pixels(1, 10, 10), "PNG")).size == (10, 10)
    with pytest.raises(DataError, match="limit"):
        decode(encoded(pixels(1, 20, 20), "PNG"))


def test_a_png_with_too_much_text_is_refused_with_a_reason():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 2**21, zip=True)
    with pytest.raises(DataError, match="damaged or truncated: Decompressed data too large"):
        decode(encoded(RED, "PNG", pnginfo=text))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(RED, "PNG"), True),
        (encoded(pixels(2), "JPEG")[:-50], True),
        (b"notes", False),
        (b"", False),
        (encoded(RED, "PPM"), True),
    ],
)
def test_is_image_looks_at_the_beginning(data, expected):
    assert is_image(data) is expected


def test_warnings_stay_as_they_were_with_many_threads(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    data = encoded(pixels(1, 10, 10), "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(decode, [data] * 400))) == 400
    assert warnings.filters == before


def test_open_whole_keeps_the_mode():
    assert open_whole(encoded(GREY, "PNG")).mode == "L"
    image = open_whole(encoded(RED, "PNG"))
    assert decode_opened(image, b"") is image


def test_resize_and_crop_keeps_the_middle():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    square = resize_and_crop(Image.fromarray(wide), resize_px=10, crop_px=10)
    assert square.shape == (10, 10, 3)
    assert square[:, 1:-1].min() == 200


def test_resize_and_crop_leaves_an_image_of_the_right_size_alone():
    image = pixels(3, 8, 8)
    np.testing.assert_array_equal(resize_and_crop(image, resize_px=8, crop_px=8), np.asarray(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_resize_and_crop_takes_the_smallest_images(size):
    assert resize_and_crop(Image.new("RGB", size, "red"), resize_px=256, crop_px=224).shape == (224, 224, 3)


def test_bytes_after_the_image_do_no_harm():
    data = encoded(RED, "PNG") + b"trailing"
    assert Image.open(io.BytesIO(data)).size == decode(data).size
