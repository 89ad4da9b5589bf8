"""The splits table: which images train, choose, test, or are left out of a few-shot run."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.storage.tables import is_sorted, read_shards, write_table

SPLITS = ("train", "val", "test")
UNUSED = "unused"
"""Train images left out by a few-shot run."""

COLUMNS = ["id", "label", "split"]


def count_splits(table: pd.DataFrame) -> dict[str, Any]:
    """Count images per split, and per class and split, as the split stage reports them.

    Args:
        table: columns id, label, split.
    Returns:
        num_train, num_val, num_test, num_unused, and `classes`: {label: {split: count}}.
    """
    counts = table.groupby(["label", "split"]).size()
    names = (*SPLITS, UNUSED)
    totals = {f"num_{name}": int((table["split"] == name).sum()) for name in names}
    per_class = {
        str(label): {name: int(counts.get((label, name), 0)) for name in names}
        for label in sorted(table["label"].unique())
    }
    return {**totals, "num_classes": len(per_class), "classes": per_class}


def write_splits(table: pd.DataFrame, path: Path) -> None:
    """Write the splits table, sorted by id: CSV, or Parquet files in a folder of that name above a million rows."""
    ordered = table[COLUMNS] if is_sorted(table["id"]) else table[COLUMNS].sort_values("id")
    write_table(lambda start, stop: ordered.iloc[start:stop], len(ordered), path)


def read_splits(path: Path) -> pd.DataFrame:
    """Read the splits table; every value is text, also a class called NA or 007.

    Returns:
        Columns id, label, split; split in train, val, test, unused.
    Raises:
        DataError: the file is missing or is not a splits table.
    """
    try:
        table = read_shards(path) if path.is_dir() else pd.read_csv(path, dtype=str, keep_default_na=False)
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a splits table ({error}); run `dvc repro`") from None
    if list(table.columns) != COLUMNS:
        raise DataError(f"{path}: expected columns {','.join(COLUMNS)}, found {','.join(table.columns)}")
    unknown = set(table["split"].unique()) - {*SPLITS, UNUSED}
    if unknown:
        raise DataError(f"{path}: unknown splits {sorted(unknown)}, expected {', '.join((*SPLITS, UNUSED))}")
    return table
