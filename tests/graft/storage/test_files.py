"""Artifacts: whole or not at all, the same content in the same bytes, damage named with its path."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.storage import files
from stages.graft.storage.arrays import METADATA_KEY, read_arrays, read_metadata, write_arrays
from stages.graft.storage.files import atomic_path, read_json, write_json, write_text
from stages.graft.storage.tables import write_csv
from tests.conftest import REPOSITORY


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("reason", [OSError, KeyboardInterrupt, SystemExit])
def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path: Path, reason: type[BaseException]):
    def fail() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise reason

    write_text("old", tmp_path / "a.txt")
    with pytest.raises(reason):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    def fail() -> None:
        with atomic_path(tmp_path / "model") as temporary:
            write_text("half", temporary / "deep" / "b.txt")
            raise OSError("disk full")

    write_text("old", tmp_path / "model" / "a.txt")
    with pytest.raises(OSError, match="disk full"):
        fail()
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "a.txt").read_text() == "old"


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path):
    for name in ("a", "b"):
        with atomic_path(tmp_path / "model") as temporary:
            write_text(name, temporary / f"{name}.txt")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["b.txt"]


def test_two_writers_of_one_path_have_two_temporaries(tmp_path: Path):
    with atomic_path(tmp_path / "a") as one, atomic_path(tmp_path / "a") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"  # the last to finish
    assert names(tmp_path) == ["a"]


def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path: Path):
    """DVC may link its cache into the worktree."""
    write_text("cached", tmp_path / "cache")
    os.link(tmp_path / "cache", tmp_path / "hard")
    (tmp_path / "soft").symlink_to(tmp_path / "cache")
    for name in ("hard", "soft"):
        write_text("new", tmp_path / name)
    assert (tmp_path / "cache").read_text() == "cached"
    assert not (tmp_path / "soft").is_symlink()


def test_text_is_utf_8_with_unix_line_ends_in_a_folder_made_for_it(tmp_path: Path):
    write_text("ä\nb\n", tmp_path / "new" / "folder" / "a.txt")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"\xc3\xa4\nb\n"


def test_json_comes_back_and_keeps_its_order(tmp_path: Path):
    record = {"z": 1, "a": [0.1, None, "ü"], "m": {"y": True}}
    write_json(record, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == record
    assert list(read_json(tmp_path / "a.json")) == ["z", "a", "m"]
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_no_number_and_keeps_the_old_file(tmp_path: Path, value: float):
    write_json({"a": 1}, tmp_path / "a.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": {"b": [value]}}, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1', b"[1]", b"1", b'{"a": "\xff"}'], ids=["empty", "cut", "cut2", "list", "1", "utf"]
)
def test_a_file_that_is_no_json_object_is_named_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json") as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_json, read_arrays, read_metadata])
def test_a_missing_file_is_named_with_what_makes_it(tmp_path: Path, read):
    with pytest.raises(DataError, match=r"missing\.file.*dvc repro"):
        read(tmp_path / "missing.file")


def test_csv_floats_come_back_exactly_and_without_an_index(tmp_path: Path):
    table = pd.DataFrame({"label": ["a,b", 'say "c"', "NA"], "x": [0.1, 1 / 3, 1e-300]})
    write_csv(table, tmp_path / "a.csv")
    content = (tmp_path / "a.csv").read_bytes()
    assert content.startswith(b'label,x\n"a,b",0.1\n')
    assert b"\r" not in content
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert [(row["label"], float(row["x"])) for row in rows] == list(zip(table["label"], table["x"], strict=True))


def test_arrays_come_back_with_their_types_and_shapes(tmp_path: Path, rng: np.random.Generator):
    arrays = {
        "x": rng.standard_normal((3, 4)).astype(np.float32),
        "transposed": rng.standard_normal((3, 4)).T,
        "ids": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "none": np.empty((0, 5), np.float32),
    }
    write_arrays(arrays, tmp_path / "a.safetensors", {"classes": ["b", "ä"]})
    again = read_arrays(tmp_path / "a.safetensors")
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array, strict=True)
    assert read_metadata(tmp_path / "a.safetensors") == {"classes": ["b", "ä"]}


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path):
    x, y = np.arange(3.0), np.arange(2)
    write_arrays({"x": x, "y": y}, tmp_path / "one", {"a": 1, "b": {"d": 2, "c": 3}})
    write_arrays({"y": y, "x": x[::-1][::-1]}, tmp_path / "two", {"b": {"c": 3, "d": 2}, "a": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_arrays_without_a_record_have_an_empty_one(tmp_path: Path):
    from safetensors.numpy import save_file

    write_arrays({"x": np.zeros(1)}, tmp_path / "ours")
    save_file({"x": np.zeros(1)}, tmp_path / "foreign")
    assert read_metadata(tmp_path / "ours") == read_metadata(tmp_path / "foreign") == {}


@pytest.mark.parametrize("read", [read_arrays, read_metadata])
@pytest.mark.parametrize("keep", [0, 4, 40, -1], ids=["empty", "no header", "half a header", "a byte short"])
def test_cut_arrays_are_named_in_one_line(tmp_path: Path, read, keep: int):
    path = tmp_path / "a.safetensors"
    write_arrays({"x": np.arange(10.0)}, path, {"a": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.safetensors.*dvc repro") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_record_in_a_whole_file_is_named(tmp_path: Path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    for record in ('{"a": ', json.dumps([1])):
        save_file({"x": np.zeros(1)}, path, metadata={METADATA_KEY: record})
        with pytest.raises(DataError, match=r"a\.safetensors"):
            read_metadata(path)


def test_temporary_files_of_a_killed_process_are_removed_and_no_others(tmp_path: Path):
    code = """
import sys, time
from pathlib import Path
from stages.graft.storage.files import atomic_path
with atomic_path(Path(sys.argv[1]) / "folder") as folder, atomic_path(Path(sys.argv[1]) / "a.txt") as file:
    folder.mkdir()
    (folder / "b").write_text("b")
    file.write_text("a")
    print("written", flush=True)
    input()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        elsewhere = tmp_path / ".a.txt.00000000-1@1-00000000.tmp"  # another computer's, on a shared disk
        elsewhere.write_text("")
        write_text("mine", tmp_path / "c.txt")
        files._sweep.cache_clear()
        write_text("mine", tmp_path / "c.txt")
        assert len(list(tmp_path.glob(".*.tmp"))) == 3  # the writer lives
        writer.kill()
        writer.wait()
    files._sweep.cache_clear()
    write_text("mine", tmp_path / "c.txt")
    assert names(tmp_path) == sorted(["c.txt", elsewhere.name])


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path):
    path = tmp_path / ("ä" * 125 + ".txt")
    write_text("a", path)
    assert path.read_text() == "a"


def test_arrays_have_the_permissions_of_other_files(tmp_path):
    write_arrays({"x": np.zeros(2, np.float32)}, tmp_path / "x.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_that_are_not_finite_are_refused(tmp_path: Path, value: float, dtype: type):
    array = np.zeros((3, 4), dtype)
    array[2, 3] = value
    write_arrays({"fine": np.ones(2, np.int64), "bad": array}, tmp_path / "a")
    with pytest.raises(DataError, match="the numbers of bad are not all finite"):
        read_arrays(tmp_path / "a")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_json_with_what_is_no_number_is_refused(tmp_path: Path, constant: str):
    (tmp_path / "a.json").write_text(f'{{"a": {constant}}}')
    with pytest.raises(DataError, match=f"{constant} is no number"):
        read_json(tmp_path / "a.json")
