"""Decoded arrays: every labelled image of a source, once, in order."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.data.decoded_arrays import decoded_images


def write_image(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (level, level, level)).save(path)


def test_a_folder_of_zips_is_their_union(tmp_path: Path):
    for number, names in enumerate([("a/1.png", "b/2.png"), ("a/3.png",)]):
        (tmp_path / "zips").mkdir(exist_ok=True)
        with ZipFile(tmp_path / "zips" / f"part-{number}.zip", "w") as archive:
            for name in names:
                level = int(name[2])
                write_image(tmp_path / "loose" / name, level)
                archive.write(tmp_path / "loose" / name, name)
    with decoded_images(tmp_path / "zips", 4, tmp_path / "cache") as decoded:
        assert decoded.classes == ("a", "b")
        assert decoded.x.shape == (3, 4, 4, 3)
        assert sorted(zip(decoded.x[:, 0, 0, 0].tolist(), decoded.y.tolist(), strict=True)) == [(1, 0), (2, 1), (3, 0)]
        digest = decoded.digest
    with decoded_images(tmp_path / "zips", 4, tmp_path / "cache") as again:
        assert again.digest == digest
    assert not list((tmp_path / "cache").glob("packed-*"))


def test_the_digest_sees_labels_and_pixels(tmp_path: Path):
    digests = set()
    for number, (label, level) in enumerate([("a", 1), ("b", 1), ("a", 2)]):
        folder = tmp_path / str(number)
        write_image(folder / label / "x.png", level)
        write_image(folder / "c" / "y.png", 9)
        with decoded_images(folder, 4, tmp_path / "cache") as decoded:
            digests.add(decoded.digest)
            np.testing.assert_array_equal(decoded.y, [0, 1])
    assert len(digests) == 2  # a and b are both the first class: pixels and class indices decide


def test_a_broken_image_is_named(tmp_path: Path):
    write_image(tmp_path / "set" / "a" / "good.png", 1)
    (tmp_path / "set" / "b").mkdir()
    (tmp_path / "set" / "b" / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b/bad\.png"), decoded_images(tmp_path / "set", 4, tmp_path / "cache"):
        pass
