import base64
import hashlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from stages.graft.images.location import ChangedError, ImageInPlace
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.report.gallery import (
    MAX_BYTES,
    SIDE_PX,
    dim_unseen,
    doubtful_labels,
    errors_by_class,
    make_thumbnail,
    thumbnail_maker,
    unsure_answers,
)
from tests.support.pictures import encoded, pixels, png, write

WHOLE = Preprocessing(
    resize_px=8, crop_px=8, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), fit="squash"
)
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
    shown = np.asarray(
        Image.open(io.BytesIO(make_thumbnail(encoded(Image.fromarray(stored), format_, exif=exif), WHOLE)))
    )
    assert shown.shape[:2] == (80, 60)
    assert [shown[y, x].max() > 128 for y, x in ((10, 10), (10, 50), (70, 10), (70, 50))] == [False, True, False, False]


def test_a_thumbnail_shows_the_white_level():
    data = encoded(Image.fromarray(np.full((9, 9), 2000, np.uint16)), "PNG")
    shown = [make_thumbnail(data, replace(WHOLE, white_level=white)) for white in (None, 2000)]
    assert [np.asarray(opened(one)).max() for one in shown] == [7, 255]


def files(images):
    return [image.file for image in images]


def test_the_surest_errors_of_each_class_come_first():
    classes = errors_by_class(PREDICTIONS, 9, address)
    assert [(one.label, one.num_errors, one.num_images, one.mostly) for one in classes] == [
        ("y", 2, 2, "x"),
        ("x", 1, 2, "y"),
    ]
    assert [files(one.images) for one in classes] == [["worse too.png", "bad.png"], ["worse.png"]]
    (image,) = classes[1].images
    assert image.notes == ("unknown",)
    assert (image.label, image.other, image.share, image.address) == ("x", "y", 0.8, "data:b")


def test_every_class_has_its_surest_error_before_another_has_two():
    shown = [[files(one.images) for one in errors_by_class(PREDICTIONS, most, address)] for most in (0, 1, 2)]
    assert shown == [[[], []], [[], ["worse.png"]], [["worse too.png"], ["worse.png"]]]
    assert errors_by_class(PREDICTIONS.head(1), 9, address) == []


@pytest.mark.parametrize(("size", "seen"), [((100, 40), (34, 4, 66, 36)), ((40, 40), (4, 4, 36, 36))])
def test_what_a_crop_leaves_out_is_grey(size, seen):
    cropped = replace(WHOLE, resize_px=10, fit="crop")
    white = Image.new("RGB", size, "white")
    bright = np.asarray(dim_unseen(white, cropped))[:, :, 0] == 255
    left, top, right, lower = seen
    assert bright.sum() == (right - left) * (lower - top)
    assert bright[top:lower, left:right].all()
    assert np.asarray(dim_unseen(white, WHOLE)).min() == 255


def test_the_unsure_answers_may_be_right():
    assert files(unsure_answers(PREDICTIONS, 9, address)) == ["bad.png", "worse.png", "worse too.png", "right.png"]
    assert [image.differs for image in unsure_answers(PREDICTIONS, 9, address)] == [True, True, True, False]
    assert unsure_answers(PREDICTIONS, 0, address) == []


def test_suspected_labels_come_before_the_merely_odd():
    rows = [("a", "odd.png", "x", "y", 0.1, False, "train"), ("b", "wrong.png", "x", "y", 0.2, True, "test")]
    table = pd.DataFrame(rows, columns=["id", "file", "label", "suggested", "score", "suspected", "split"])
    images = doubtful_labels(table, 9, address)
    assert files(images) == ["wrong.png", "odd.png"]
    assert images[0].notes == ("test", "looks wrong")
    assert doubtful_labels(table.head(0), 9, address) == []


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("size", "small"), [((40, 30), (40, 30)), ((1920, 960), (SIDE_PX, 96)), ((10, 4000), (1, SIDE_PX))]
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_images_shrink_and_never_grow(size, small, format_):
    image = opened(make_thumbnail(encoded(Image.new("RGB", size, "teal"), format_), WHOLE))
    assert (image.format, image.size) == ("JPEG", small)


def test_noise_stays_within_the_bytes():
    data = make_thumbnail(encoded(pixels(1, 1000, 1000), "PNG"), WHOLE)
    assert len(data) <= MAX_BYTES
    assert max(opened(data).size) == SIDE_PX


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_any_mode_is_shown(mode):
    image = Image.fromarray(np.full((20, 20), 40000, np.uint16)) if mode == "I;16" else Image.new(mode, (20, 20))
    assert opened(make_thumbnail(encoded(image, "TIFF"), WHOLE)).mode == "RGB"


def test_a_turned_photograph_stands_upright():
    image, exif = Image.new("RGB", (1000, 500), "white"), Image.Exif()
    image.paste("black", (0, 0, 500, 500))
    exif[ExifTags.Base.Orientation] = 6  # the left side is the top
    small = opened(make_thumbnail(encoded(image, "JPEG", exif=exif), WHOLE))
    assert small.size == (96, SIDE_PX)
    assert small.getpixel((48, 20))[0] < 50 < 200 < small.getpixel((48, 170))[0]


def test_an_address_holds_the_image_and_a_missing_one_has_none(tmp_path):
    address_of = thumbnail_maker(lambda id_: tmp_path / id_, WHOLE)
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
    assert thumbnail_maker(lambda _: place, WHOLE)("a").startswith("data:image/jpeg;base64,")
    write(path, png(2))
    with pytest.raises(ChangedError, match=r"a\.png has changed since it was ingested"):
        thumbnail_maker(lambda _: place, WHOLE)("a")


def test_where_a_place_cannot_be_reached_none_is_asked_again(tmp_path):
    asked = []

    def locate(id_):
        asked.append(id_)
        return ImageInPlace(str(tmp_path / id_), "0" * 64)

    address_of = thumbnail_maker(locate, WHOLE)
    assert [address_of(id_) for id_ in ("a", "b", "c")] == [None] * 3
    assert asked == ["a"]
