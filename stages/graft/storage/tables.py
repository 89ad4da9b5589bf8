"""Tables of any length: a CSV file or, above a million rows, a folder of Parquet files with the same columns."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from stages.graft.core.errors import DataError, one_line
from stages.graft.storage.files import atomic_path, write_text
from stages.graft.storage.spreadsheets import for_spreadsheet

ROWS_PER_SHARD = 1_000_000
"""Rows of a Parquet file; a longer CSV file would take seconds and a gigabyte of memory to read."""

_CHUNK_ROWS = 100_000
"""Rows that are Python objects at the same time, which bounds memory."""

SHARDS = "part-*.parquet"


def write_table(rows: Callable[[int, int], pd.DataFrame], num_rows: int, path: Path) -> None:
    """Write a table: one CSV file, or a folder of shards when it is longer than a shard.

    Args:
        rows: gives the rows from the first number to before the second; at most a shard of them is asked for.
        num_rows: rows of the table.
        path: the file or folder; it is replaced.
    """
    if num_rows <= ROWS_PER_SHARD:
        _write_csv(rows, num_rows, path)
        return
    starts = range(0, num_rows, ROWS_PER_SHARD)
    write_shards((rows(start, min(start + ROWS_PER_SHARD, num_rows)) for start in starts), path)


def _write_csv(rows: Callable[[int, int], pd.DataFrame], num_rows: int, path: Path) -> None:
    """Write the same bytes as `write_csv`, some rows at a time."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for start in range(0, max(num_rows, 1), _CHUNK_ROWS):
            part = rows(start, min(start + _CHUNK_ROWS, num_rows))
            part.to_csv(file, index=False, header=start == 0, lineterminator="\n")


def write_shards(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write each part of a table to its own file in the folder `path`."""
    with atomic_path(path) as folder:
        folder.mkdir()
        for number, part in enumerate(parts):
            _write_shard(part, folder / f"part-{number:05}.parquet")
        if path.is_file():
            path.unlink()  # a folder cannot replace a file


def read_shards(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table written as shards; text is `str` as in a table read from CSV, numbers are int64.

    Args:
        path: the folder.
        columns: names of the columns to read, of those the table has; None for all.
    Raises:
        DataError: there is no shard, or one cannot be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    files = sorted(path.glob(SHARDS))
    if not files:
        raise DataError(f"{path} holds no {SHARDS}; run `dvc repro`")
    try:
        names = [name for name in parquet.read_schema(files[0]).names if columns is None or name in columns]
        shards = [parquet.read_table(file, columns=names) for file in files]
        table: pd.DataFrame = pa.concat_tables(shards).to_pandas(split_blocks=True, self_destruct=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read as Parquet ({one_line(error)}); run `dvc repro`") from None
    return table


def read_each_shard(path: Path) -> Iterator[pd.DataFrame]:
    """Read the files of a table written as shards one after the other, each with all columns."""
    from pyarrow import parquet

    for file in sorted(path.glob(SHARDS)):
        yield parquet.read_table(file).to_pandas()


def count_rows(path: Path) -> int:
    """Count the rows of a table without reading it."""
    if path.is_dir():
        from pyarrow import parquet

        return sum(parquet.read_metadata(file).num_rows for file in path.glob(SHARDS))
    with path.open("rb") as file:
        return max(0, sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b"")) - 1)


def texts(column: "pd.Series[Any]") -> Iterator[str]:
    """Give the values of a text column one by one, with few of them in memory as Python objects."""
    for start in range(0, len(column), _CHUNK_ROWS):
        yield from column.iloc[start : start + _CHUNK_ROWS].to_list()


def is_sorted(column: "pd.Series[Any]") -> bool:
    """Tell whether each value of a text column is greater than the one before."""
    import pyarrow as pa
    from pyarrow import compute

    for start in range(0, len(column) - 1, _CHUNK_ROWS):
        values = pa.array(column.iloc[start : start + _CHUNK_ROWS + 1], from_pandas=True)
        if not compute.all(compute.less(values[:-1], values[1:])).as_py():
            return False
    return True


def _write_shard(table: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    # Without pandas' metadata, which names its version. A dictionary of values pays only where they repeat.
    shard = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    repeats = [name for name in shard.column_names if name not in ("id", "file", "address")]
    parquet.write_table(shard, path, compression="zstd", use_dictionary=repeats)


def write_report_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, as `write_csv` does, in which no cell of text is a formula for a spreadsheet."""
    texts = {str(name): table[name].map(_protected) for name in table if not is_numeric_dtype(table[name])}
    write_csv(table.assign(**texts), path)


def _protected(value: Any) -> Any:
    return for_spreadsheet(value) if isinstance(value, str) else value


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV without its index; floats keep their shortest exact form."""
    write_text(table.to_csv(index=False, lineterminator="\n"), path)
