import base64
import hashlib
import io

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from stages.graft.images.location import ChangedError, ImageInPlace
from stages.graft.report.gallery import (
    MAX_BYTES,
    SIDE_PX,
    confident_errors,
    doubtful_labels,
    make_thumbnail,
    thumbnail_maker,
    unsure_answers,
)
from tests.support.pictures import encoded, pixels, png, write

PREDICTIONS = pd.DataFrame(
    [
        ("a", "right.png", "x", "x", 0.9, False, False),
        ("b", "worse.png", "x", "y", 0.8, False, True),
        ("c", "bad.png", "y", "x", 0.4, True, False),
        ("d", "worse too.png", "y", "x", 0.8, False, False),
    ],
    columns=["id", "file", "label", "predicted", "confidence", "unsure", "unknown"],
)


def address(id_):
    return f"data:{id_}"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_a_thumbnail_is_turned_once(format_):
    stored = np.zeros((60, 80), np.uint8)
    stored[:30, :40] = 255  # the left upper quarter in the file; turned to the right, the right upper one
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    shown = np.asarray(Image.open(io.BytesIO(make_thumbnail(encoded(Image.fromarray(stored), format_, exif=exif)))))
    assert shown.shape[:2] == (80, 60)
    assert [shown[y, x].max() > 128 for y, x in ((10, 10), (10, 50), (70, 10), (70, 50))] == [False, True, False, False]


def test_a_thumbnail_shows_the_white_level():
    data = encoded(Image.fromarray(np.full((9, 9), 2000, np.uint16)), "PNG")
    assert [np.asarray(Image.open(io.BytesIO(make_thumbnail(data, white)))).max() for white in (None, 2000)] == [7, 255]


def files(images):
    return [image.file for image in images]


def test_the_surest_errors_come_first():
    images = confident_errors(PREDICTIONS, 9, address)
    assert files(images) == ["worse.png", "worse too.png", "bad.png"]
    assert images[0].notes == ("unknown",)
    assert (images[0].label, images[0].other, images[0].share, images[0].address) == ("x", "y", 0.8, "data:b")
    assert files(confident_errors(PREDICTIONS, 1, address)) == ["worse.png"]


def test_the_unsure_answers_may_be_right():
    assert files(unsure_answers(PREDICTIONS, 9, address)) == ["bad.png", "worse.png", "worse too.png", "right.png"]
    assert [image.differs for image in unsure_answers(PREDICTIONS, 9, address)] == [True, True, True, False]
    assert unsure_answers(PREDICTIONS, 0, address) == []


def test_suspected_labels_come_before_the_merely_odd():
    rows = [("a", "odd.png", "x", "y", 0.1, False, "train"), ("b", "wrong.png", "x", "y", 0.2, True, "test")]
    table = pd.DataFrame(rows, columns=["id", "file", "label", "suggested", "score", "suspected", "split"])
    images = doubtful_labels(table, 9, address)
    assert files(images) == ["wrong.png", "odd.png"]
    assert images[0].notes == ("test", "suspected")
    assert doubtful_labels(table.head(0), 9, address) == []


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("size", "small"), [((40, 30), (40, 30)), ((1920, 960), (SIDE_PX, 96)), ((10, 4000), (1, SIDE_PX))]
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_images_shrink_and_never_grow(size, small, format_):
    image = opened(make_thumbnail(encoded(Image.new("RGB", size, "teal"), format_)))
    assert (image.format, image.size) == ("JPEG", small)


def test_noise_stays_within_the_bytes():
    data = make_thumbnail(encoded(pixels(1, 1000, 1000), "PNG"))
    assert len(data) <= MAX_BYTES
    assert max(opened(data).size) == SIDE_PX


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_any_mode_is_shown(mode):
    image = Image.fromarray(np.full((20, 20), 40000, np.uint16)) if mode == "I;16" else Image.new(mode, (20, 20))
    assert opened(make_thumbnail(encoded(image, "TIFF"))).mode == "RGB"


def test_a_turned_photograph_stands_upright():
    image, exif = Image.new("RGB", (1000, 500), "white"), Image.Exif()
    image.paste("black", (0, 0, 500, 500))
    exif[ExifTags.Base.Orientation] = 6  # the left side is the top
    small = opened(make_thumbnail(encoded(image, "JPEG", exif=exif)))
    assert small.size == (96, SIDE_PX)
    assert small.getpixel((48, 20))[0] < 50 < 200 < small.getpixel((48, 170))[0]


def test_an_address_holds_the_image_and_a_missing_one_has_none(tmp_path):
    address_of = thumbnail_maker(lambda id_: tmp_path / id_)
    write(tmp_path / "abc.png", png(1))
    address = address_of("abc.png")
    kind, data = address.split(",")
    assert kind == "data:image/jpeg;base64"
    assert opened(base64.b64decode(data)).size == (12, 10)
    assert address_of("abd.png") is None
    write(tmp_path / "bad.jpeg", b"\xff\xd8\xff\xe0 no more")
    assert address_of("bad.jpeg") is None


def test_an_image_in_place_is_shown_while_it_is_the_one_ingested(tmp_path):
    path = write(tmp_path / "a.png", png(1))
    place = ImageInPlace(str(path), hashlib.sha256(png(1)).hexdigest())
    assert thumbnail_maker(lambda _: place)("a").startswith("data:image/jpeg;base64,")
    write(path, png(2))
    with pytest.raises(ChangedError, match=r"a\.png has changed since it was ingested"):
        thumbnail_maker(lambda _: place)("a")


def test_where_a_place_cannot_be_reached_none_is_asked_again(tmp_path):
    asked = []

    def locate(id_):
        asked.append(id_)
        return ImageInPlace(str(tmp_path / id_), "0" * 64)

    address_of = thumbnail_maker(locate)
    assert [address_of(id_) for id_ in ("a", "b", "c")] == [None] * 3
    assert asked == ["a"]
