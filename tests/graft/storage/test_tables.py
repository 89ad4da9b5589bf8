"""A table of any length: the same rows whether it is one file of CSV or a folder of Parquet files."""

import hashlib
import json

import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.manifest import COLUMNS, read_manifest, write_manifest
from stages.graft.data.splits import extend_table, read_splits
from stages.graft.report.plot_tables import read_table
from stages.graft.storage import tables
from stages.graft.storage.spreadsheets import for_spreadsheet, from_spreadsheet
from stages.graft.storage.tables import (
    count_rows,
    is_sorted,
    read_shards,
    texts,
    write_csv,
    write_report_csv,
    write_table,
)
from stages.graft.tracking.run_state import read_state
from tests.graft.data.test_manifest import row

LABELS = ("NA", "007", "größe", "a\rb", "")


@pytest.fixture
def cut(monkeypatch):
    """Cut tables into shards of four rows."""
    monkeypatch.setattr(tables, "ROWS_PER_SHARD", 4)


def table_of(num_rows):
    rows = [(f"{number:064x}", LABELS[number % 5], number) for number in range(num_rows)]
    return pd.DataFrame(rows, columns=["id", "label", "width"])


def written(table, path):
    write_table(lambda start, stop: table.iloc[start:stop], len(table), path)


@pytest.mark.parametrize(("num_rows", "sizes"), [(4, None), (5, [4, 1]), (8, [4, 4]), (11, [4, 4, 3])])
def test_a_long_table_is_cut_and_comes_back(tmp_path, cut, num_rows, sizes):
    path, table = tmp_path / "t.csv", table_of(num_rows)
    written(table, path)
    assert count_rows(path) == num_rows
    if sizes is None:
        assert path.is_file()
        return
    files = sorted(path.iterdir())
    assert [file.name for file in files] == [f"part-{number:05}.parquet" for number in range(len(sizes))]
    assert [len(pd.read_parquet(file)) for file in files] == sizes
    pd.testing.assert_frame_equal(read_shards(path), table)
    pd.testing.assert_frame_equal(read_shards(path, ("width", "id", "nothing")), table[["id", "width"]])


@pytest.mark.parametrize("num_rows", [0, 1, 3, 7])
def test_csv_written_in_parts_is_that_of_the_whole_table(tmp_path, monkeypatch, num_rows):
    monkeypatch.setattr(tables, "_CHUNK_ROWS", 3)
    written(table_of(num_rows), tmp_path / "parts.csv")
    write_csv(table_of(num_rows), tmp_path / "whole.csv")
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_table_takes_the_place_of_a_shorter_or_longer_one(tmp_path, cut):
    path = tmp_path / "t.csv"
    for num_rows in (3, 9, 5, 2):
        written(table_of(num_rows), path)
        assert count_rows(path) == num_rows
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_equal_tables_give_equal_bytes(tmp_path, cut):
    for name in ("a", "b"):
        written(table_of(9), tmp_path / name)
    parts = [[file.read_bytes() for file in sorted((tmp_path / name).iterdir())] for name in ("a", "b")]
    assert parts[0] == parts[1]


def test_manifest_and_splits_say_the_same_cut_or_whole(tmp_path, monkeypatch):
    rows = [row(f"{label}/{n}.png", label, group=f"g{n}") for n in range(3) for label in LABELS[:4]]
    splits = pd.Series(["train", "val", "test", "unused"] * 3)
    for name, size in (("whole", 100), ("cut", 4)):
        monkeypatch.setattr(tables, "ROWS_PER_SHARD", size)
        write_manifest(rows, tmp_path / name / "data/manifest.csv")
        extend_table(tmp_path / name / "data/manifest.csv", tmp_path / name / "splits.csv", split=splits)
    whole, cut = (tmp_path / name / "data/manifest.csv" for name in ("whole", "cut"))
    assert whole.is_file()
    assert cut.is_dir()
    pd.testing.assert_frame_equal(read_manifest(cut), read_manifest(whole))
    some = ("id", "format")
    pd.testing.assert_frame_equal(read_manifest(cut, some), read_manifest(whole, some))
    assert (tmp_path / "cut/splits.csv").is_dir()
    for folder in ("cut", "whole"):
        table = read_splits(tmp_path / folder / "splits.csv", COLUMNS)
        pd.testing.assert_frame_equal(table, read_manifest(whole).assign(split=splits))


def test_a_state_is_known_by_the_files_of_a_cut_manifest(tmp_path, cut):
    write_manifest([row(f"{n}.png") for n in range(6)], tmp_path / "data/manifest.csv")
    (tmp_path / "params.yaml").write_text("tracking: {experiment: x}\n")
    state = read_state(tmp_path)
    files = sorted((tmp_path / "data/manifest.csv").iterdir())
    listed = [{"md5": hashlib.md5(file.read_bytes()).hexdigest(), "relpath": file.name} for file in files]
    assert (state.num_images, state.data_md5) == (6, hashlib.md5(json.dumps(listed).encode()).hexdigest() + ".dir")
    write_manifest([row(f"{n}.png") for n in range(1, 7)], tmp_path / "data/manifest.csv")
    assert read_state(tmp_path).key != state.key


@pytest.mark.parametrize("spoil", ["empty", "cut short", "no Parquet"])
def test_damaged_shards_are_a_line(tmp_path, cut, spoil):
    written(table_of(9), tmp_path / "t.csv")
    part = tmp_path / "t.csv/part-00001.parquet"
    part.write_bytes({"empty": b"", "cut short": part.read_bytes()[:-20], "no Parquet": b"x" * 100}[spoil])
    with pytest.raises(DataError, match=r"t\.csv cannot be read as Parquet \(.+\); run `dvc repro`") as caught:
        read_shards(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


def test_a_folder_without_shards_is_no_table(tmp_path):
    with pytest.raises(DataError, match=r"holds no part-\*\.parquet; run `dvc repro`"):
        read_shards(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], True), (["a"], True), (["a", "b", "ü"], True), (["a", "a"], False), (["b", "a"], False)],
)
def test_is_sorted(values, expected):
    assert is_sorted(pd.Series(values, dtype=str)) is expected


def test_texts_gives_every_value(monkeypatch):
    monkeypatch.setattr(tables, "_CHUNK_ROWS", 3)
    assert list(texts(pd.Series(list("abcdefg"), dtype=str))) == list("abcdefg")


TEXTS = ("=1+1", "+1", "-1", "@a", "\t=1", "'a", "'=1", "a=1", "", "1", "ü", "a'b")


def test_no_text_is_a_formula_for_a_spreadsheet_and_each_comes_back():
    for text in TEXTS:
        written = for_spreadsheet(text)
        assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert from_spreadsheet(written) == text
    assert [text for text in TEXTS if for_spreadsheet(text) == text] == ["a=1", "", "1", "ü", "a'b"]


def test_a_table_for_people_has_no_formulas_and_its_numbers_stay(tmp_path):
    columns = {"id": ["a", "b"], "file": ["=HYPERLINK(1)", "x.png"], "class": ["-1", "+1"], "confidence": [-1.5, 2]}
    table = pd.DataFrame(columns)
    write_report_csv(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "id,file,class,confidence\na,'=HYPERLINK(1),'-1,-1.5\nb,x.png,'+1,2.0\n"
    again = read_table(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
