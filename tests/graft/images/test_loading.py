"""Reading: images in order, a few batches ahead and no more."""

import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stages.graft.images.loading import BATCHES_AHEAD, decoded_batches, read_batch, read_image
from stages.graft.images.preprocessing import Preprocessing
from tests.support.pictures import encoded, pixels, png, write

BATCH_SIZE = 4
PREPROCESSING = Preprocessing(
    resize_px=36, crop_px=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)

Locate = Callable[[str], Path]


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    data = [encoded(pixels(seed, 40 + seed, 36), "PNG") for seed in range(10)]
    return [write(tmp_path / "images" / f"{sha256(one).hexdigest()}.png", one).stem for one in data]


@pytest.fixture
def locate(tmp_path: Path) -> Locate:
    return lambda id_: tmp_path / "images" / f"{id_}.png"


def test_a_short_batch_is_filled_with_black(ids, locate):
    batch = read_batch(ids[:3], locate, PREPROCESSING, BATCH_SIZE)
    assert (batch.shape, batch.dtype) == ((4, 32, 32, 3), np.uint8)
    for id_, image in zip(ids[:3], batch, strict=False):
        np.testing.assert_array_equal(image, read_image(locate(id_), PREPROCESSING))
    assert not batch[3].any()


def test_batches_come_in_the_order_asked_for_however_long_an_image_takes(ids, locate):
    def slow(id_: str) -> Path:
        time.sleep(0.02 if id_ in ids[::3] else 0)
        return locate(id_)

    batches = list(decoded_batches(ids, slow, PREPROCESSING, BATCH_SIZE))
    assert [part for part, _ in batches] == [ids[:4], ids[4:8], ids[8:]]
    for part, images in batches:
        assert images.shape == (len(part), 32, 32, 3)
        for id_, image in zip(part, images, strict=True):
            np.testing.assert_array_equal(image, read_image(locate(id_), PREPROCESSING))


def test_no_images_make_no_batch(locate):
    assert list(decoded_batches([], locate, PREPROCESSING, BATCH_SIZE)) == []


def test_only_a_few_batches_are_decoded_ahead(tmp_path):
    before = set(threading.enumerate())
    image = write(tmp_path / "a.png", png(0))
    begun: list[str] = []

    def locate(id_: str) -> Path:
        begun.append(id_)
        return image

    batches = decoded_batches([str(number) for number in range(100)], locate, PREPROCESSING, BATCH_SIZE)
    for taken in range(1, 4):
        next(batches)
        time.sleep(0.05)  # as many as may begin have begun
        assert len(begun) <= (taken + BATCHES_AHEAD) * BATCH_SIZE
    batches.close()
    begun_here = set(threading.enumerate()) - before
    assert not [thread for thread in begun_here if thread.name.startswith("ThreadPoolExecutor")]
