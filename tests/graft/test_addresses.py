"""Images where they are: a copy is read as it is, an image in place only if it is the one that was ingested."""

import hashlib

import pytest

from stages.graft.addresses import ChangedError, InPlace, num_readers, read_place, read_places
from stages.graft.buckets import UnreachableError
from stages.graft.errors import DataError
from tests.pictures import write


def in_place(path, data):
    return InPlace(str(path), hashlib.sha256(data).hexdigest())


def test_copies_and_images_in_place_are_read(tmp_path):
    copy, other = write(tmp_path / "copy", b"one"), write(tmp_path / "dent" / "ü.png", b"two")
    assert read_place(copy) == b"one"
    assert read_place(in_place(other, b"two")) == b"two"
    assert list(read_places([in_place(other, b"two"), copy])) == [b"two", b"one"]
    assert list(read_places([])) == []


def test_an_image_that_changed_is_named(tmp_path):
    place = in_place(write(tmp_path / "a.png", b"one"), b"one")
    write(tmp_path / "a.png", b"onE")
    with pytest.raises(ChangedError) as caught:
        read_place(place)
    assert str(caught.value) == f"{place.address} has changed since it was ingested; run `dvc repro --force ingest`"


def test_a_missing_image_says_how_to_get_it_back(tmp_path):
    with pytest.raises(UnreachableError, match=r"a\.png cannot be read \(No such file or directory\); bring it back"):
        read_place(in_place(tmp_path / "a.png", b""))
    with pytest.raises(DataError, match=r"a\.png: .*; `dvc checkout` or `dvc repro ingest` brings it back"):
        read_place(tmp_path / "a.png")


def test_only_a_service_is_asked_by_many_threads(tmp_path):
    assert num_readers([InPlace("s3://bucket/a", "")]) == 16
    assert [num_readers(places) for places in ([], [tmp_path], [InPlace("a", "")])] == [None] * 3
