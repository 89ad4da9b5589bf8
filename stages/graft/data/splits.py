"""The splits table: the manifest with the split that each image was put in; all that later stages read of an image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.manifest import read_manifest
from stages.graft.data.split_names import TEST, TRAIN, VAL
from stages.graft.storage.tables import read_each_shard, write_csv, write_shards

SPLITS = (TRAIN, VAL, TEST)

UNUSED = "unused"
"""Training images that a few-shot run leaves out."""

SPLIT_NAMES = (*SPLITS, UNUSED)

BASELINES = ("majority", "pixels", "neighbours")
"""Columns that `explore` adds: the class that each simple baseline predicts for a test image, else empty."""

COLUMNS = ("id", "label", "split")
"""The columns that say which images a stage trains on, chooses with or scores."""


def count_splits(labels: "pd.Series[str]", splits: "pd.Series[str]") -> dict[str, Any]:
    """Count images per split, and per class and split, as the split stage reports them.

    Args:
        labels: class name of each image.
        splits: split of each image.
    Returns:
        num_train, num_val, num_test, num_unused, num_classes, and `classes`: {label: {split: count}}.
    """
    counts = pd.crosstab(labels, splits).reindex(columns=list(SPLIT_NAMES), fill_value=0)
    totals = {f"num_{name}": int(counts[name].sum()) for name in SPLIT_NAMES}
    per_class = {str(label): {name: int(row[name]) for name in SPLIT_NAMES} for label, row in counts.iterrows()}
    return {**totals, "num_classes": len(per_class), "classes": per_class}


def extend_table(table: Path, path: Path, **columns: "pd.Series[str]") -> None:
    """Write a table of images again with more columns; Parquet files are copied one by one, never held as a whole.

    Args:
        table: the manifest, or a table that was made from it.
        path: the new table, in the same format.
        columns: values of each new or replaced column, for the rows of the table in their order.
    """
    if table.is_dir():
        write_shards(_extended_shards(table, columns), path)
    else:
        write_csv(
            read_manifest(table, None, may_be_empty=True).assign(
                **{name: column.to_numpy() for name, column in columns.items()}
            ),
            path,
        )


def read_splits(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Read columns of the splits table, as `read_manifest` does; the split is one of SPLIT_NAMES.

    Args:
        path: the CSV file, or the folder of Parquet files.
        columns: those wanted, id and split among them.
    Raises:
        DataError: the table is missing, lacks columns or has an unknown split.
    """
    table = read_manifest(path, columns)
    unknown = set(table["split"].unique()) - set(SPLIT_NAMES)
    if unknown:
        raise DataError(f"{path}: unknown splits {sorted(unknown)}, expected {', '.join(SPLIT_NAMES)}")
    return table


def _extended_shards(table: Path, columns: Mapping[str, "pd.Series[str]"]) -> Iterator[pd.DataFrame]:
    start = 0
    for shard in read_each_shard(table):
        rows = slice(start, start + len(shard))
        yield shard.assign(**{name: column.iloc[rows].to_numpy() for name, column in columns.items()})
        start += len(shard)
