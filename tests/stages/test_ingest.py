import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages import ingest
from stages.graft.core.stage import run
from stages.graft.data.manifest import read_manifest
from tests.conftest import REPOSITORY
from tests.support.packed import packed_images
from tests.support.pictures import class_folder, png, write

PARAMS = {"sha256": None, "on_conflict": "error", "max_bad_fraction": 0.1}


@pytest.fixture
def folder(tmp_path):
    """A class folder: hole/0.png to hole/2.png, scratch/0.png to scratch/2.png."""
    return class_folder(tmp_path / "plates")


@pytest.fixture
def ingested(project):
    """Run the stage on a source in a project of its own; give the project's folder."""

    def run_stage(source, **params):
        folder = project(ingest={"source": str(source), **PARAMS, **params})
        run("ingest", ingest.main)
        return folder

    return run_stage


def outputs(folder):
    """Path and bytes of all files the stage wrote."""
    written = [path for name in ("data", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in written}


def test_the_stage_writes_images_manifest_and_report(ingested, folder, capsys):
    made = ingested(folder)
    table = read_manifest(made / "data/manifest.csv")
    assert sorted(table["file"]) == [f"{label}/{n}.png" for label in ("hole", "scratch") for n in range(3)]
    assert list(table["id"]) == sorted(table["id"])
    first = table.set_index("file").loc["hole/0.png"]
    assert packed_images(made / "data/images")[f"{first['id']}.png"] == png(0)
    assert json.loads((made / "reports/ingest.json").read_text())["num_images"] == 6
    assert capsys.readouterr().out == "ingest: 6 images in 2 classes\n"


def test_the_same_source_gives_the_same_bytes_packed_or_not(ingested, folder, tmp_path):
    expected = outputs(ingested(folder))
    for kind in ("zip", "gztar"):
        archive = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "plates")
        assert outputs(ingested(archive)) == expected


def test_a_second_run_replaces_the_first(ingested, folder):
    ingested(folder)
    (folder / "hole" / "0.png").unlink()
    made = ingested(folder)
    assert len(packed_images(made / "data/images")) == 5
    assert len(read_manifest(made / "data/manifest.csv")) == 5


def test_a_generated_source(ingested, tmp_path):
    spec = b"kind: plates\nper_class: 2\nsize_px: 32\nseed: 1\ndifficulty: 0.5\n"
    table = read_manifest(ingested(write(tmp_path / "plates.yaml", spec)) / "data/manifest.csv")
    assert sorted(table["label"].value_counts()) == [2] * 6
    assert set(table["format"]) == {"PNG"}


def test_a_local_archive_is_checked_against_a_sha256(ingested, folder, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "plates")
    ingested(archive, sha256=hashlib.sha256(Path(archive).read_bytes()).hexdigest())
    with pytest.raises(SystemExit, match="has SHA-256"):
        ingested(archive, sha256="0" * 64)


def conflict(folder):
    write(folder / "scratch" / "copy.png", png(0))
    return folder


def half_bad(folder):
    for number in range(6):
        write(folder / "hole" / f"bad{number}.png", b"")
    return folder


def empty_class(folder):
    (folder / "pit").mkdir()
    return folder


def list_without_columns(folder):
    return write(folder / "list.csv", b"file;class\n")


def damaged_archive(folder):
    archive = Path(shutil.make_archive(str(folder.parent / "packed"), "gztar", folder))
    return write(archive, archive.read_bytes()[:-50])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (conflict, r"1 images are there under two labels"),
        (half_bad, r"6 of 12 images are bad \(50\.0%\)"),
        (empty_class, r"no image in class `pit`"),
        (list_without_columns, r"no column path and no column label"),
        (damaged_archive, r"is damaged or cut short"),
        (lambda folder: folder / "hole", r"at least two classes, found none; .* `ingest\.label_pattern`"),
        (lambda folder: folder / "nowhere", r"does not exist"),
        (lambda folder: "http://127.0.0.1/plates.zip", r"`ingest.sha256` is missing"),
    ],
)
def test_a_bad_source_ends_in_a_message_and_leaves_nothing(ingested, folder, tmp_path, spoil, message):
    with pytest.raises(SystemExit, match=rf"^ingest: error: .*{message}") as caught:
        ingested(spoil(folder))
    assert str(caught.value).count("\n") < 2
    made = tmp_path / "project"
    assert [path.name for path in made.rglob("*") if path.is_file()] == ["params.yaml", "labels.csv"]
    assert not list((made / "data").glob("*"))


def test_a_failed_run_leaves_the_last_one_alone(ingested, folder):
    expected = outputs(ingested(folder))
    with pytest.raises(SystemExit):
        ingested(conflict(folder))
    assert outputs(Path.cwd()) == expected


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"on_conflict": "merge"}, r"`ingest\.on_conflict` should be 'error' or 'drop', got 'merge'"),
        ({"max_bad_fraction": 10}, r"`ingest\.max_bad_fraction` should be less than or equal to 1"),
        ({"sha256": "abc"}, r"`ingest\.sha256`"),
        ({"source": ""}, r"`ingest\.source`"),
        ({"sources": "x"}, r"`ingest\.sources` is not a parameter"),
        ({"columns": {"path": "a"}}, r"`ingest\.columns\.label` is missing"),
        ({"label_pattern": "cat"}, r"`ingest\.label_pattern` should have a group of that name"),
        ({"min_images_per_class": 0}, r"`ingest\.min_images_per_class` should be greater than 0"),
    ],
)
def test_wrong_parameters_are_named(ingested, folder, params, message):
    with pytest.raises(SystemExit, match=message):
        ingested(**{"source": folder, **params})


def test_run_as_a_user_does_a_mistake_ends_with_code_1_and_no_traceback(project, tmp_path):
    made = project(ingest={"source": str(tmp_path / "nowhere"), **PARAMS})
    command = [sys.executable, "-m", "stages.ingest"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, cwd=made, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("ingest: error: source ")
    assert ended.stderr.count("\n") <= 2
    assert "Traceback" not in ended.stderr


def test_images_stay_in_place(ingested, folder):
    copied = read_manifest(ingested(folder) / "data/manifest.csv")
    made = ingested(folder, copy=False)
    table = read_manifest(made / "data/manifest.csv")
    assert list(table.columns) == [*copied.columns, "address"]
    assert table.drop(columns="address").equals(copied)
    assert table["address"].to_list() == [f"{folder}/{file}" for file in table["file"]]
    assert [path.name for path in (made / "data/images").iterdir()] == ["in_place.txt"]
    assert json.loads((made / "reports/ingest.json").read_text())["num_images"] == 6


def test_a_list_of_images_in_place_counts_from_where_it_lies(ingested, folder):
    rows = [f"{label}/{number}.png,{label}" for label in ("hole", "scratch") for number in range(3)]
    listed = write(folder / "list.csv", "\n".join(["path,label", *rows]).encode())
    table = read_manifest(ingested(listed, copy=False) / "data/manifest.csv")
    assert {Path(address).read_bytes() for address in table["address"]} == {
        png(100 * k + n) for k in (0, 1) for n in range(3)
    }


def test_a_name_that_no_table_can_hold_is_no_place(ingested, folder):
    write(folder / "hole" / os.fsdecode(b"\xff.png"), png(70))
    write(folder / "hole" / "two\nlines.png", png(71))
    made = ingested(folder, copy=False, max_bad_fraction=0.5)
    quarantined = json.loads((made / "reports/ingest.json").read_text())["quarantined"]
    assert [image["file"] for image in quarantined] == ["hole/\\udcff.png", "hole/two\\nlines.png"]
    assert all(image["reason"].startswith("no table can hold its path") for image in quarantined)
    assert len(read_manifest(ingested(folder, max_bad_fraction=0.5) / "data/manifest.csv")) == 8


@pytest.mark.parametrize("packed", [True, False])
def test_packed_and_generated_images_have_no_place(ingested, folder, tmp_path, packed):
    spec = b"kind: plates\nper_class: 2\nsize_px: 32\nseed: 1\ndifficulty: 0.5\n"
    source = shutil.make_archive(str(tmp_path / "a"), "zip", folder) if packed else write(tmp_path / "a.yaml", spec)
    with pytest.raises(SystemExit, match=r"`ingest\.copy: false` needs images that are files") as caught:
        ingested(source, copy=False)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "project/data").glob("*"))


def test_given_splits_come_to_the_manifest(ingested, tmp_path, capsys):
    for split, number in (("train", 0), ("test", 7)):
        for label in ("hole", "scratch"):
            write(tmp_path / "given" / split / label / "0.png", png(number + (label == "hole")))
    table = read_manifest(ingested(tmp_path / "given") / "data/manifest.csv")
    assert sorted(table["split"]) == ["test", "test", "train", "train"]
    assert capsys.readouterr().out == "ingest: 4 images in 2 classes; splits of the source: 2 train, 2 test\n"
