"""Files that DVC does not hash: noticed when they change, appear or go."""

import os
import shutil

import pytest

from stages.graft.data.open_source import open_source
from stages.graft.data.unwatched import changed_files, list_unwatched, reason_to_ingest, write_unwatched
from stages.graft.storage.files import write_json
from tests.support.ingestion import ingest_params
from tests.support.pictures import class_folder, png, write


@pytest.fixture
def linked(tmp_path):
    """A class folder of which one class lies elsewhere."""
    folder, far = class_folder(tmp_path / "plates"), class_folder(tmp_path / "far", classes=("pit",))
    (folder / "pit").symlink_to(far / "pit")
    return folder


@pytest.fixture
def listed(tmp_path):
    class_folder(tmp_path)
    return write(tmp_path / "list.csv", b"path,label\nhole/0.png,a\nscratch/0.png,b\n")


@pytest.fixture
def looked(tmp_path):
    """Look at a source as `ingest` does, then ask again."""
    report, record = tmp_path / "ingest.json", tmp_path / "unwatched.json"

    def look(source, ingest=True):
        params = ingest_params(source=str(source))
        if ingest:
            write_json({"num_images": 2}, report)
            with open_source(source, tmp_path / "cache", None, params.rules) as opened:
                write_unwatched(list_unwatched(opened), report, record)
        return reason_to_ingest(params, tmp_path / "cache", report, record)

    look.report, look.record = report, record
    return look


def test_only_what_lies_behind_a_linked_folder_is_not_watched(linked, tmp_path):
    (linked / "pit2").mkdir()
    (linked / "pit2" / "file.png").symlink_to(tmp_path / "far/pit/0.png")  # DVC reads linked files
    with open_source(linked, tmp_path / "cache") as source:
        assert source.unwatched == tuple(f"{linked}/pit/{number}.png" for number in range(3))


@pytest.mark.parametrize("kind", ["folder", "archive", "missing"])
def test_what_dvc_watches_needs_no_look(looked, tmp_path, kind):
    source = class_folder(tmp_path / "plates")
    if kind == "archive":
        source = shutil.make_archive(str(tmp_path / "a"), "zip", source)
    assert looked(source if kind != "missing" else tmp_path / "gone", ingest=kind != "missing") is None
    assert not looked.record.exists()


def change(path):
    write(path, png(77))


def replace_by_equal_size(path):
    data = path.read_bytes()
    write(path, data[:-1] + b"x")
    os.utime(path, ns=(1, 1))


def remove(path):
    path.unlink()


def add(path):
    write(path.with_name("new.png"), png(78))


@pytest.mark.parametrize("how", [change, replace_by_equal_size, remove, add])
def test_every_change_in_a_linked_folder_is_noticed(looked, linked, how):
    assert looked(linked) is None
    how(linked.parent / "far/pit/1.png")
    assert looked(linked, ingest=False).startswith("1 files that DVC does not watch have changed, such as ")
    assert looked(linked) is None


@pytest.mark.parametrize("how", [change, replace_by_equal_size])
def test_every_change_of_a_listed_image_is_noticed(looked, listed, how):
    assert looked(listed) is None
    assert changed_files(looked.report, looked.record) == []
    how(listed.parent / "hole/0.png")
    assert changed_files(looked.report, looked.record) == [f"{listed.parent}/hole/0.png"]
    assert looked(listed, ingest=False) == (
        f"1 files that DVC does not watch have changed, such as {listed.parent}/hole/0.png"
    )
    assert looked(listed) is None
    change(listed.parent / "hole/1.png")  # not in the list
    assert looked(listed, ingest=False) is None


def test_a_listed_image_that_is_gone_is_for_ingest_to_say(looked, listed):
    assert looked(listed) is None
    (listed.parent / "hole/0.png").unlink()
    assert looked(listed, ingest=False) == f"{listed} cannot be opened now"


@pytest.mark.parametrize("lost", ["record", "report"])
def test_without_a_record_of_these_results_ingest_must_look(looked, listed, lost):
    assert looked(listed) is None
    if lost == "record":
        write(looked.record, b"{half")
    else:
        write_json({"num_images": 3}, looked.report)  # restored by DVC from an earlier run
    reason = "DVC does not watch 2 files of the source, and no earlier look at them is recorded"
    assert looked(listed, ingest=False) == reason
