import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.duplicates import finding
from stages.graft.duplicates.finding import find_duplicates
from tests.support.pictures import write
from tests.support.scenes import png_of, scene

ORIGINALS = [scene(seed) for seed in range(8)]


@pytest.fixture
def images(tmp_path):
    """Eight scenes; of the first a JPEG and a BMP of the same pixels, of the second a half that moved on."""
    same = cv2.imencode(".bmp", ORIGINALS[0])[1].tobytes()
    saved = cv2.imencode(".jpg", ORIGINALS[0], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    moved = png_of(np.ascontiguousarray(np.concatenate([ORIGINALS[1][:, 130:], scene(90, width=130)], axis=1)))
    plain = [png_of(np.full((50, 60, 3), shade, np.uint8)) for shade in (100, 101)]
    files = [png_of(picture) for picture in ORIGINALS] + [same, saved, moved, *plain]
    return [write(tmp_path / f"{number:02}.png", data) for number, data in enumerate(files)]


def search(images, tmp_path, store="store"):
    """What is found, with the numbers of the files in place of those of the sorted ids."""
    path_of = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in images}
    ids = sorted(path_of)
    found = find_duplicates(ids, path_of.__getitem__, tmp_path / store, tmp_path / "scratch")
    names = [int(Path(path_of[id_]).stem) for id_ in ids]
    rows = {
        frozenset((names[row.first], names[row.second])): (row.kind, row.correlation)
        for row in found.pairs.itertuples()
    }
    return found, rows


def test_each_kind_is_found_and_plain_images_are_not_each_others_duplicates(images, tmp_path):
    found, rows = search(images, tmp_path)
    kinds = {tuple(sorted(pair)): kind for pair, (kind, _) in rows.items()}
    assert kinds.pop((0, 8)) == "same pixels"
    assert kinds.pop((1, 10)) == "related"
    assert kinds in ({(0, 9): "strict"}, {(8, 9): "strict"})  # of the same pixels, one is compared with the others
    assert (found.num_described, found.num_plain) == (len(images), 2)


def test_what_is_known_is_not_computed_again(images, tmp_path, monkeypatch):
    first, _ = search(images[:-1], tmp_path)
    described = []
    monkeypatch.setattr(finding, "describe", lambda data, _: described.append(data) or describe(data))
    again, _ = search(images[:-1], tmp_path)
    assert described == []
    assert again.pairs.equals(first.pairs)
    more, rows = search(images, tmp_path)
    assert described == [images[-1].read_bytes()]
    cold, cold_rows = search(images, tmp_path, "other store")
    assert more.pairs.equals(cold.pairs)
    assert rows == cold_rows


describe = finding.describe


def test_after_a_kill_the_images_described_are_there(images, tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "IMAGES_PER_FRAGMENT", 4)
    write(images[0], b"damaged")
    ids = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in images}
    order = [id_ for id_, path in ids.items() if path != images[0]] + [
        k for k, path in ids.items() if path == images[0]
    ]
    with pytest.raises(DataError, match=r"00\.png: not an image"):
        find_duplicates(order, ids.__getitem__, tmp_path / "store", tmp_path / "scratch")
    assert list((tmp_path / "store").glob("*/*.safetensors"))
    found = find_duplicates(order[:-1], ids.__getitem__, tmp_path / "store", tmp_path / "scratch")
    assert found.num_described == len(order) - 1 - 12
    assert list((tmp_path / "scratch").iterdir()) == []


def test_one_image_alone(images, tmp_path):
    found, rows = search(images[:1], tmp_path)
    assert (len(found.pairs), rows, found.num_compared) == (0, {}, 0)
