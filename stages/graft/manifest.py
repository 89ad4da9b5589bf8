"""The table of images: one row per image, sorted by id, read by every later stage."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pandas as pd

from stages.graft.artifacts import write_csv
from stages.graft.errors import DataError


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


COLUMNS = tuple(field.name for field in fields(ManifestRow))
_NUMBERS = ("width", "height")
_ID = re.compile(r"[0-9a-f]{64}")


def write_manifest(rows: Iterable[ManifestRow], path: Path) -> None:
    """Write the manifest as CSV, sorted by id."""
    ordered = sorted(rows, key=lambda row: row.id)
    write_csv(pd.DataFrame([astuple(row) for row in ordered], columns=list(COLUMNS)), path)


def read_manifest(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Read the manifest: width and height are integers, all else is text, as it stands ("" for nothing; NA, 007, true).

    Args:
        path: the CSV file.
        columns: those wanted, the id among them; the others take no memory.
    Raises:
        DataError: the file is missing, lacks columns or rows, or an id is twice in it or is no SHA-256.
    """
    try:
        # With "\n" as the only line end, a carriage return in a label is just a character.
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, na_filter=False, lineterminator="\n", usecols=columns.__contains__
        )
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run `dvc repro ingest`") from None
    except ValueError as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
        raise DataError(f"{path} cannot be read as CSV ({' '.join(str(error).split())}); run `dvc repro`") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path}: columns missing: {', '.join(missing)}; found {', '.join(table.columns)}")
    _check_ids(table["id"], path)
    try:
        return table[list(columns)].astype({name: "int64" for name in _NUMBERS if name in columns})
    except ValueError as error:
        raise DataError(f"{path}: width and height must be whole numbers ({error})") from None


def image_path(folder: Path, id_: str, format_: str) -> Path:
    """Give the place of an image's file: `<folder>/<id>.<format in lower case>`."""
    return folder / f"{id_}.{format_.lower()}"


def manifest_paths(manifest: pd.DataFrame, folder: Path) -> Callable[[str], Path]:
    """Give the function from an id to its file in `folder`."""
    # interned: a few formats, not one more text for every image
    formats = dict(zip(manifest["id"], map(sys.intern, manifest["format"]), strict=True))
    return lambda id_: image_path(folder, id_, formats[id_])


def _check_ids(ids: "pd.Series[str]", path: Path) -> None:
    wrong = [id_ for id_ in ids if not _ID.fullmatch(id_)]
    if wrong:
        raise DataError(f"{path}: {wrong[0]!r} is not the SHA-256 of an image; run `dvc repro`")
    twice = ids[ids.duplicated()]
    if len(twice):
        raise DataError(f"{path}: image {twice.iloc[0]} has two rows; run `dvc repro`")
    if ids.empty:
        raise DataError(f"{path} holds no image; run `dvc repro`")
