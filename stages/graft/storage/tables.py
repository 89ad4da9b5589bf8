"""A table of any length at one path: CSV or, above a million rows, a folder of Parquet files with the same columns."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.storage.files import atomic_path, write_text

ROWS_PER_SHARD = 1_000_000
"""A longer table is cut into files of so many rows: CSV of that length takes seconds and a gigabyte to read."""

_AT_ONCE = 100_000
"""Values of a column that are Python's own text while it is gone through."""

SHARDS = "part-*.parquet"


def write_table(rows: Callable[[int, int], pd.DataFrame], num_rows: int, path: Path) -> None:
    """Write a table: CSV, or shards when it is longer than one.

    Args:
        rows: gives the rows from one number up to, not with, another; at most a shard of them at a time.
        num_rows: in all.
        path: of the file or the folder; what is there is replaced.
    """
    if num_rows <= ROWS_PER_SHARD:
        _write_csv(rows, num_rows, path)
        return
    starts = range(0, num_rows, ROWS_PER_SHARD)
    write_shards((rows(start, min(start + ROWS_PER_SHARD, num_rows)) for start in starts), path)


def _write_csv(rows: Callable[[int, int], pd.DataFrame], num_rows: int, path: Path) -> None:
    """Write what `write_csv` writes of the whole table, a part of it after the other."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for start in range(0, max(num_rows, 1), _AT_ONCE):
            part = rows(start, min(start + _AT_ONCE, num_rows))
            part.to_csv(file, index=False, header=start == 0, lineterminator="\n")


def write_shards(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table given in parts, each to a file of its own in the folder `path`."""
    with atomic_path(path) as folder:
        folder.mkdir()
        for number, part in enumerate(parts):
            _write_shard(part, folder / f"part-{number:05}.parquet")
        if path.is_file():
            path.unlink()  # no folder can be renamed to it


def read_shards(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table written as shards; text is `str` as in a table read from CSV, numbers are int64.

    Args:
        path: the folder.
        columns: those wanted, where there are such; None takes all.
    Raises:
        DataError: there is no shard, or one is not whole.
    """
    import pyarrow as pa
    from pyarrow import parquet

    files = sorted(path.glob(SHARDS))
    if not files:
        raise DataError(f"{path} holds no {SHARDS}; run `dvc repro`")
    try:
        found = parquet.read_schema(files[0]).names
        wanted = [name for name in found if columns is None or name in columns]
        shards = [parquet.read_table(file, columns=wanted) for file in files]
        table: pd.DataFrame = pa.concat_tables(shards).to_pandas(split_blocks=True, self_destruct=True)
    except (OSError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as Parquet ({reason}); run `dvc repro`") from None
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
    """Give the values of a text column one by one; few of them are Python's own text at any time."""
    for start in range(0, len(column), _AT_ONCE):
        yield from column.iloc[start : start + _AT_ONCE].to_list()


def is_sorted(column: "pd.Series[Any]") -> bool:
    """Say whether each value of a text column is greater than the one before."""
    import pyarrow as pa
    from pyarrow import compute

    for start in range(0, len(column) - 1, _AT_ONCE):
        values = pa.array(column.iloc[start : start + _AT_ONCE + 1], from_pandas=True)
        if not compute.all(compute.less(values[:-1], values[1:])).as_py():
            return False
    return True


def _write_shard(table: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    # Without pandas' notes, which name its version; text that hardly repeats is not worth a dictionary.
    shard = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    repeats = [name for name in shard.column_names if name not in ("id", "file", "address")]
    parquet.write_table(shard, path, compression="zstd", use_dictionary=repeats)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV without its index; floats keep their shortest exact form."""
    write_text(table.to_csv(index=False, lineterminator="\n"), path)
