"""JPEG files: one verdict at every scale, and none on a good one."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.images.crop import decode_square, decode_whole
from stages.graft.images.decode import decode, open_whole
from stages.graft.images.inspection import inspect
from stages.graft.images.jpeg import UNUSUAL_SAMPLING
from stages.graft.images.preprocessing import Preprocessing
from tests.support.pictures import encoded, pixels

SMALL = Preprocessing(resize_px=16, crop_px=14, interpolation="bilinear", mean=(0.5,) * 3, std=(0.2,) * 3)
GOOD = encoded(pixels(3, 200, 160), "JPEG", quality=85)
SCAN = GOOD.index(b"\xff\xda")


def verdict(data: bytes) -> str:
    """What ingest, predict and duplicates say of a file: the same."""
    said = set()
    for use in (inspect, decode, lambda file: decode_square(file, SMALL), lambda file: decode_whole(file, 16)):
        try:
            use(data)
            said.add("good")
        except DataError as error:
            said.add(str(error))
    [one] = said
    return one


def changed(position: int, new: bytes, data: bytes = GOOD) -> bytes:
    return data[:position] + new + data[position + len(new) :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (GOOD, "good"),
        (GOOD + b"behind the end", "good"),
        (changed(11, b"\7"), "good"),  # another version of JFIF
        (changed(len(GOOD) // 2, bytes(len(GOOD) // 2)), "damaged or truncated: "),
        (changed(len(GOOD) // 2, bytes(400)), "damaged or truncated: "),
        (GOOD[:-2], "damaged or truncated: "),
        (GOOD[: len(GOOD) // 2], "damaged or truncated: "),
        (GOOD[: SCAN + 30] + b"\xff\xd9", "damaged or truncated: "),
        (GOOD[:SCAN], "damaged or truncated: "),
        (GOOD[:-2] + b"x" * 300 + b"\xff\xd9", "damaged or truncated: "),
    ],
    ids=["good", "more", "version", "zeros", "zeros inside", "no end", "half", "short", "no scan", "too much"],
)
def test_every_stage_says_the_same(data, reason):
    assert re.match(reason, verdict(data))


def test_a_small_file_that_claims_many_pixels_is_damaged():
    frame = GOOD.index(b"\xff\xc0") + 5
    data = changed(frame, (2700).to_bytes(2) + (16_500).to_bytes(2), GOOD[: SCAN + 400] + b"\xff\xd9")
    assert verdict(data).startswith("damaged or truncated: ")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"subsampling": 1}, {"progressive": True}])
def test_pixels_and_mode_are_pillows(mode, options):
    if mode == "CMYK":
        options = options | {"subsampling": 0}  # Pillow would sample black in an unusual way
    data = encoded(pixels(1, 50, 30).convert(mode), "JPEG", **options)
    image = open_whole(data)
    assert (image.mode, image.format, image.size) == (mode, "JPEG", (50, 30))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))
    assert verdict(data) == "good"
    assert verdict(data[:-40]) != "good"


def test_an_unusual_sampling_of_colours_is_refused():
    """Nothing here says what is damaged in such a file."""
    data = encoded(pixels(1, 64, 64), "JPEG", subsampling=0)
    factors = data.index(b"\xff\xc0") + 11
    odd = changed(factors + 3, b"\x21", data)  # a colour is sampled more than the brightness
    assert verdict(odd) == verdict(odd[:-60]) == UNUSUAL_SAMPLING


def test_many_scans_are_refused_before_they_are_decoded(monkeypatch):
    from stages.benchmarks.hostile_files import jpeg_of_many_scans
    from stages.graft.images import jpeg

    data = jpeg_of_many_scans(1024, 40)
    assert verdict(data) == "good"
    monkeypatch.setattr(jpeg, "MAX_SCAN_PIXELS", 30 * 1024**2)
    assert verdict(data) == "over 30 scans of 1024x1024 pixels; save it again"


def test_an_end_mark_inside_a_table_does_not_hide_scans(monkeypatch):
    from stages.benchmarks.hostile_files import jpeg_of_many_scans
    from stages.graft.images import jpeg

    data = jpeg_of_many_scans(1024, 40)
    later = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    monkeypatch.setattr(jpeg, "MAX_SCAN_PIXELS", 30 * 1024**2)
    assert verdict(data[:later] + comment + data[later:]).startswith("over 30 scans")
