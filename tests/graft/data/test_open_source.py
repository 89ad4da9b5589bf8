import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.data.open_source import open_source, open_sources
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


def test_archives_beside_class_folders_are_left_alone(folder, tmp_path):
    zipped(folder, folder / "old.zip")
    with open_source(folder, tmp_path / "cache") as source:
        assert source.classes == ("hole", "scratch")


def test_several_sources_of_one_name_stay_apart(tmp_path):
    folders = [class_folder(tmp_path / side / "plates", per_class=1) for side in ("left", "right")]
    with open_sources(folders, tmp_path / "cache") as source:
        assert [candidate.file for candidate in source.candidates] == [
            f"{tmp_path}/{side}/plates/{label}/0.png" for side in ("left", "right") for label in ("hole", "scratch")
        ]


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
