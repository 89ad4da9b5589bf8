"""The manifest: a table with one row per image, sorted by id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.storage.tables import is_sorted, read_shards, write_table


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One image."""

    id: str
    """SHA-256 of the file's bytes, 64 hex digits in lower case."""
    file: str
    """Path inside the source as the user knows it, with forward slashes; of identical files the first in order."""
    label: str
    """Class name, never empty."""
    group: str
    """Images of one group stay on one side of the split; empty: a group of its own."""
    split: str
    """train, val or test when the source says so, else empty."""
    width: int
    """Of the upright image, in pixels."""
    height: int
    """Of the upright image, in pixels."""
    format: str
    """The file's format as Pillow names it, upper case: JPEG, PNG, …, whatever its suffix says."""
    mode: str
    """Pillow's mode of the file's own pixels: L, RGB, I;16, CMYK, …"""
    address: str = ""
    """Address of an image in place, a path or s3://…; empty for an image that was copied."""


ADDRESS = "address"
"""The column that a manifest has when its images stay in place."""

COLUMNS = tuple(field.name for field in fields(ManifestRow) if field.name != ADDRESS)
"""Columns of every manifest."""

_NUMBERS = ("width", "height")
_ID = "[0-9a-f]{64}"


def write_manifest(rows: Iterable[ManifestRow], path: Path) -> None:
    """Write the manifest, sorted by id: CSV, or Parquet files in a folder of that name above a million rows."""
    ordered = sorted(rows, key=attrgetter("id"))
    columns = [*COLUMNS, ADDRESS] if any(row.address for row in ordered) else COLUMNS

    def rows_of(start: int, stop: int) -> pd.DataFrame:
        some = ordered[start:stop]
        return pd.DataFrame({name: [getattr(row, name) for row in some] for name in columns})

    write_table(rows_of, len(ordered), path)


def read_manifest(
    path: Path, columns: Sequence[str] | None = (*COLUMNS, ADDRESS), *, may_be_empty: bool = False
) -> pd.DataFrame:
    """Read the manifest: width and height are integers, all else is text, as it stands ("" for nothing; NA, 007, true).

    Args:
        path: the CSV file, or the folder of Parquet files.
        columns: those wanted, the id among them; the others take no memory. The address comes where there is one.
            None: all that the table has.
        may_be_empty: a table without rows is no error.
    Raises:
        DataError: the file is missing, lacks columns or rows, or an id is twice in it or is no SHA-256.
    """
    table = read_shards(path, columns) if path.is_dir() else _read_csv(path, columns)
    columns = tuple(table.columns) if columns is None else columns
    missing = [name for name in columns if name not in table.columns and name != ADDRESS]
    if missing:
        raise DataError(f"{path}: columns missing: {', '.join(missing)}; found {', '.join(table.columns)}")
    if not (may_be_empty and table.empty):
        _check_ids(table["id"], path)
    try:
        wanted = [name for name in columns if name in table.columns]
        return table[wanted].astype({name: "int64" for name in _NUMBERS if name in columns})
    except ValueError as error:
        raise DataError(f"{path}: width and height must be whole numbers ({error})") from None


def read_unlabelled(path: Path, columns: Sequence[str] = (*COLUMNS, ADDRESS)) -> pd.DataFrame:
    """Read the table of the images without labels, as `read_manifest` does; it may have no row."""
    return read_manifest(path, columns, may_be_empty=True)


def _read_csv(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    wanted = None if columns is None else columns.__contains__
    try:
        # With "\n" as the only line end, a carriage return in a label is just a character.
        return pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, lineterminator="\n", usecols=wanted)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run `dvc repro`") from None
    except ValueError as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
        raise DataError(f"{path} cannot be read as CSV ({' '.join(str(error).split())}); run `dvc repro`") from None


def _check_ids(ids: "pd.Series[str]", path: Path) -> None:
    if ids.empty:
        raise DataError(f"{path} holds no image; run `dvc repro`")
    wrong = ids[~ids.str.fullmatch(_ID)]
    if len(wrong):
        raise DataError(f"{path}: {wrong.iloc[0]!r} is not the SHA-256 of an image; run `dvc repro`")
    if not is_sorted(ids) and ids.duplicated().any():
        raise DataError(f"{path}: image {ids[ids.duplicated()].iloc[0]} has two rows; run `dvc repro`")
