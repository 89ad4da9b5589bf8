import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.data.open_source import open_source
from tests.support.pictures import class_folder, png, write


@pytest.fixture
def folder(tmp_path):
    """A class folder: hole/0.png to hole/2.png, scratch/0.png to scratch/2.png."""
    return class_folder(tmp_path / "plates")


def zipped(folder, path):
    path.parent.mkdir(exist_ok=True)
    return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder.parent, folder.name))


def everything(source):
    return [(candidate.file, candidate.label, candidate.read()) for candidate in source.candidates]


def test_folder_and_archives_and_list_are_the_same_source(folder, tmp_path):
    with open_source(folder, tmp_path / "cache") as source:
        expected = everything(source)
    archives = [
        shutil.make_archive(str(tmp_path / "a"), kind, tmp_path, "plates") for kind in ("zip", "tar", "gztar", "xztar")
    ]
    lines = ["path,label", *(f"{file},{label}" for file, label, _ in expected)]
    list_ = write(folder / "list.CSV", "\n".join(lines).encode())
    for path in (*archives, list_):
        with open_source(path, tmp_path / "cache") as source:
            assert everything(source) == expected
            assert source.name == str(path)


def test_a_relative_source_counts_from_where_we_are(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_source("plates", tmp_path / "cache") as source:
        assert len(source.candidates) == 6


def test_a_folder_of_archives_is_their_union(folder, tmp_path):
    zipped(folder, tmp_path / "parts" / "b.zip")
    zipped(class_folder(tmp_path / "others", classes=("pit", "hole")), tmp_path / "parts" / "a.zip")
    write(tmp_path / "parts" / "README.md", b"x")
    write(tmp_path / "parts" / ".cache" / "x", b"x")
    with open_source(tmp_path / "parts", tmp_path / "cache") as source:
        files = [candidate.file for candidate in source.candidates]
        assert source.classes == ("hole", "pit", "scratch")
        assert files == sorted(files)
        assert files[:3] == ["a.zip/hole/0.png", "a.zip/hole/1.png", "a.zip/hole/2.png"]
        assert len(files) == 12
        assert source.name == str(tmp_path / "parts")
        assert source.candidates[-1].read() == png(102)


@pytest.mark.parametrize("top", ["", "train/", "plates/"])
def test_archives_that_are_splits(tmp_path, top):
    for split, number in (("train", 0), ("Test", 10)):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            for label in ("hole", "pit"):
                archive.writestr(f"{top if split == 'train' else ''}{label}/{number}.png", png(number))
    (tmp_path / "cache").mkdir()
    (tmp_path / "parts").mkdir()
    for split in ("train", "Test"):
        (tmp_path / f"{split}.zip").rename(tmp_path / "parts" / f"{split}.zip")
    with open_source(tmp_path / "parts", tmp_path / "cache") as source:
        assert [(found.file, found.label, found.split) for found in source.candidates] == [
            ("Test/hole/10.png", "hole", "test"),
            ("Test/pit/10.png", "pit", "test"),
            ("train/hole/0.png", "hole", "train"),
            ("train/pit/0.png", "pit", "train"),
        ]


def test_archives_that_are_classes(tmp_path):
    for label in ("hole", "pit"):
        (tmp_path / "parts").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "parts" / f"{label}.zip", "w") as archive:
            archive.writestr("0.png", png(0))
    with open_source(tmp_path / "parts", tmp_path / "cache") as source:
        assert [(found.file, found.label) for found in source.candidates] == [
            ("hole/0.png", "hole"),
            ("pit/0.png", "pit"),
        ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labels.xlsx", "is a spreadsheet; save it as CSV UTF-8, a table with the columns path,label"),
        ("labels.txt", "is not a list that Graft reads; save it as CSV UTF-8"),
        ("labels.json", "is not a list that Graft reads; save it as CSV UTF-8"),
        ("photo.jpg", "is one image; `ingest.source` takes many .* run `graft predict` on it"),
        ("plates.rar", "is an archive that Graft does not read; unpack it and point the source at the folder"),
        ("plates.h5", r"plates\.h5 is not an archive; expected one of \.zip"),
    ],
)
def test_a_file_that_is_no_source_is_named_with_what_to_do(tmp_path, name, message):
    path = write(tmp_path / name, png(1) if name.endswith("jpg") else b"PK\3\4" if name.endswith("xlsx") else b"x" * 99)
    with pytest.raises(DataError, match=message) as caught:
        open_source(path, tmp_path / "cache").__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["list.csv", "a.zip", "a.tar.gz"])
def test_a_file_in_s3_is_to_be_copied_here(tmp_path, name):
    with pytest.raises(DataError, match=rf"source s3://plates/{name} is a file; in S3, Graft reads folders: copy it"):
        open_source(f"s3://plates/{name}", tmp_path / "cache").__enter__()


def test_a_list_with_tabs_may_have_its_own_suffix(folder, tmp_path):
    path = write(folder / "list.tsv", b"path\tlabel\nhole/0.png\ta\nscratch/0.png\tb\n")
    with open_source(path, tmp_path / "cache") as source:
        assert source.classes == ("a", "b")


def test_archives_beside_class_folders_are_left_alone(folder, tmp_path):
    zipped(folder, folder / "old.zip")
    with open_source(folder, tmp_path / "cache") as source:
        assert source.classes == ("hole", "scratch")


def test_an_address_needs_a_sha256_and_is_an_archive_whatever_its_name(folder, tmp_path, monkeypatch):
    with pytest.raises(ParamsError, match=r"`ingest.sha256` is missing: https://plates\.example/latest\?x=1"):
        open_source("https://plates.example/latest?x=1", tmp_path).__enter__()
    archive = zipped(folder, tmp_path / "a.zip")
    monkeypatch.setattr("stages.graft.data.open_source.fetch", lambda address, sha256, folder: archive)
    with open_source("https://plates.example/latest", tmp_path / "cache", "0" * 64) as source:
        assert source.classes == ("hole", "scratch")


def test_a_sha256_is_checked_for_any_file_and_refused_for_a_folder(folder, tmp_path):
    archive = zipped(folder, tmp_path / "a.zip")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    with open_source(archive, tmp_path / "cache", sha256) as source:
        assert len(source.candidates) == 6
    with pytest.raises(ParamsError, match="has SHA-256"):
        open_source(archive, tmp_path / "cache", "0" * 64).__enter__()
    with pytest.raises(ParamsError, match="set it to null"):
        open_source(folder, tmp_path / "cache", sha256).__enter__()


@pytest.mark.parametrize("name", ["nowhere", "nowhere.zip", "nowhere.csv", "nowhere.yaml", "ftp://x/a.zip"])
def test_a_missing_source_says_what_may_be_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"source {name} does not exist .*one sub-folder per class, an archive"):
        open_source(name, tmp_path / "cache").__enter__()


def test_a_source_can_be_read_only_while_it_is_open(folder, tmp_path):
    with open_source(zipped(folder, tmp_path / "a.zip"), tmp_path / "cache") as source:
        pass
    with pytest.raises((DataError, ValueError, zipfile.BadZipFile)):
        source.candidates[0].read()
