"""Images where they are: a copy is read as it is, an image in place only if it is the one that was ingested."""

import hashlib
from pathlib import Path

import pytest

from stages.graft.core.errors import DataError
from stages.graft.images.location import ChangedError, ImageInPlace, absolute_location, num_readers, read_image_bytes
from stages.graft.storage.s3 import UnreachableError
from tests.support.pictures import write


def in_place(path, data):
    return ImageInPlace(str(path), hashlib.sha256(data).hexdigest())


def test_copies_and_images_in_place_are_read(tmp_path):
    copy, other = write(tmp_path / "copy", b"one"), write(tmp_path / "dent" / "ü.png", b"two")
    assert read_image_bytes(copy) == b"one"
    assert read_image_bytes(in_place(other, b"two")) == b"two"


def test_an_image_that_changed_is_named(tmp_path):
    place = in_place(write(tmp_path / "a.png", b"one"), b"one")
    write(tmp_path / "a.png", b"onE")
    with pytest.raises(ChangedError) as caught:
        read_image_bytes(place)
    assert str(caught.value) == f"{place.address} has changed since it was ingested; run `dvc repro --force ingest`"


def test_a_missing_image_says_how_to_get_it_back(tmp_path):
    with pytest.raises(UnreachableError, match=r"a\.png cannot be read \(No such file or directory\); bring it back"):
        read_image_bytes(in_place(tmp_path / "a.png", b""))
    with pytest.raises(DataError, match=r"a\.png: .*; `dvc checkout` or `dvc repro ingest` brings it back"):
        read_image_bytes(tmp_path / "a.png")


def test_only_a_service_is_asked_by_many_threads(tmp_path):
    assert num_readers([ImageInPlace("s3://bucket/a", "")]) == 16
    assert [num_readers(places) for places in ([], [tmp_path], [ImageInPlace("a", "")])] == [None] * 3


def test_a_location_for_workers_in_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_location(Path("a/b.png")) == tmp_path / "a/b.png"
    assert absolute_location(ImageInPlace("a/b.png", "1f")) == ImageInPlace(str(tmp_path / "a/b.png"), "1f")
    assert absolute_location(ImageInPlace("s3://a/b.png", "1f")) == ImageInPlace("s3://a/b.png", "1f")
