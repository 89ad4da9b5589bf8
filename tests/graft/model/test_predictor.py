"""Prediction: the pipeline's own answers, an error row for a bad image, order kept, whatever the batches."""

import io
import struct
import threading
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.model.bundle import load_bundle
from stages.graft.model.predictor import ImageFile, Predictor
from tests.support.bundles import CLASSES, SHADES, picture


@pytest.fixture(scope="module")
def predictor(bundle_folder):
    return Predictor(load_bundle(bundle_folder))


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def files_of(data):
    return [ImageFile(name=f"{k}", read=lambda one=one: one) for k, one in enumerate(data)]


def test_every_image_has_its_row_in_order(predictor):
    shown = [(k * 7) % 3 for k in range(41)]  # ten batches of four, and one image
    rows = list(predictor.predict(files_of(png(picture(SHADES[k], 100 + n)) for n, k in enumerate(shown))))
    assert [row["file"] for row in rows] == [str(n) for n in range(41)]
    assert [row["label"] for row in rows] == [CLASSES[k] for k in shown]
    for row in rows:
        shares = [row[f"p_{label}"] for label in CLASSES]
        assert list(row) == predictor.columns
        assert row["confidence"] == max(shares) == row[f"p_{row['label']}"]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["error"] is None


def test_the_answer_does_not_depend_on_the_neighbours(predictor):
    image = png(picture(SHADES[1], 5))
    alone = next(predictor.predict(files_of([image])))
    among = list(predictor.predict(files_of([png(picture(SHADES[0], 1)), b"x", image, image, image])))
    assert [{**row, "file": "0"} for row in among[2:]] == [alone] * 3


def test_a_bad_image_is_a_row_with_its_reason(predictor):
    good = png(picture(SHADES[2], 1))
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 10_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + good[33:]

    def gone():
        raise DataError("cannot be read: No such file or directory")

    files = [*files_of([b"", b"no image", good[:60], bomb, good]), ImageFile(name="gone", read=gone)]
    rows = list(predictor.predict(files))
    reasons = [
        "zero bytes",
        "not an image",
        "damaged or truncated",
        "over the limit of 179 megapixels",
        None,
        "No such file",
    ]
    for row, reason in zip(rows, reasons, strict=True):
        assert (row["error"] is None) if reason is None else (reason in row["error"]), row["error"]
        assert (row["label"] is None) == (reason is not None)
    assert rows[4]["label"] == CLASSES[2]


def test_noise_is_unknown_and_plain_greys_are_not(predictor, rng):
    noise = [png(Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))) for _ in range(8)]
    assert all(row["unknown"] for row in predictor.predict(files_of(noise)))
    known = [png(picture(shade, 50 + number)) for shade in SHADES for number in range(8)]
    assert sum(row["unknown"] for row in predictor.predict(files_of(known))) <= 12


def test_files_are_read_as_they_are_needed(predictor):
    image, num_read = png(picture(SHADES[0], 1)), 0

    def endless():
        nonlocal num_read
        while True:
            num_read += 1
            yield ImageFile(name="x", read=lambda: image)

    rows = predictor.predict(endless())
    assert [next(rows)["label"] for _ in range(10)] == [CLASSES[0]] * 10
    assert num_read < 400
    rows.close()


def test_images_in_s3_are_fetched_many_at_a_time_and_answered_alike(predictor):
    data = [png(picture(SHADES[k % 3], k)) for k in range(9)]
    together = threading.Barrier(4)  # a batch: a single one would wait without end

    def late(one: bytes) -> bytes:
        if one is not data[8]:
            together.wait(timeout=20)
        return one

    def damaged() -> bytes:
        raise DataError("is too large")

    remote = [ImageFile(name=f"{k}", read=partial(late, one), address=f"s3://b/{k}") for k, one in enumerate(data)]
    rest = [ImageFile(name="bad", read=damaged, address="s3://b/bad"), *files_of(data[:1])]
    rows = list(predictor.predict([*remote, *rest]))
    assert rows == list(predictor.predict([*files_of(data), *rest]))
    assert (rows[9]["file"], rows[9]["error"]) == ("bad", "is too large")
