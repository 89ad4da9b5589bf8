"""Tables written row by row to a CSV, JSON Lines or Parquet file, which appears when it is complete."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stages.graft.core.errors import ParamsError, printable
from stages.graft.storage.files import atomic_path
from stages.graft.storage.spreadsheets import for_spreadsheet

Write = Callable[[Mapping[str, Any]], None]

ROWS_PER_GROUP = 10_000
"""Rows of a Parquet file that are collected before they are written."""


@contextmanager
def open_rows(path: Path, types: Mapping[str, type]) -> Iterator[Write]:
    """Give a function that writes a row; the file appears at the end.

    Args:
        path: with the suffix .csv, .jsonl or .parquet.
        types: type of each column, in order: str, float or bool; any cell may be None.
    Raises:
        ParamsError: it has another suffix, or the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise ParamsError(f"--out {path}: its name must end in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ParamsError(f"--out {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ParamsError(f"--out {path}: {'is a folder' if path.is_dir() else 'its folder may not be written to'}")
    with atomic_path(path) as temporary, FORMATS[path.suffix](temporary, types) as write:
        yield write


@contextmanager
def csv_rows(file: IO[str], columns: Sequence[str], *, shown: bool = False) -> Iterator[Write]:
    """Give a function that writes a row as CSV: None as an empty cell, booleans in lower case, no formulas.

    When it is shown on a terminal, nothing is written that a terminal obeys, such as escape sequences in a name.
    """
    writer, as_shown = csv.writer(file, lineterminator="\n"), printable if shown else str
    writer.writerow(map(as_shown, columns))
    yield lambda row: writer.writerow([as_shown(_cell(row[name])) for name in columns])


@contextmanager
def _csv_file(path: Path, types: Mapping[str, type]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file, csv_rows(file, list(types)) as write:
        yield write


@contextmanager
def _json_lines(path: Path, types: Mapping[str, type]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda row: print(json.dumps({name: row[name] for name in types}, ensure_ascii=False), file=file)


@contextmanager
def _parquet(path: Path, types: Mapping[str, type]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    arrow = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, arrow[kind]) for name, kind in types.items()])
    pending: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema) as file:

        def write(row: Mapping[str, Any]) -> None:
            pending.append(dict(row))
            if len(pending) >= ROWS_PER_GROUP:
                file.write_table(pa.Table.from_pylist(pending, schema))
                pending.clear()

        yield write
        file.write_table(pa.Table.from_pylist(pending, schema))


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return for_spreadsheet(value)
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


FORMATS = {".csv": _csv_file, ".jsonl": _json_lines, ".parquet": _parquet}
"""Writers by suffix."""
