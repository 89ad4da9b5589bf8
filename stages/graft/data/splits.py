"""The splits table: the manifest with the split that each image was put in; all that later stages read of an image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.manifest import read_manifest
from stages.graft.storage.tables import read_each_shard, write_csv, write_shards

SPLITS = ("train", "val", "test")

UNUSED = "unused"
"""Training images that a few-shot run leaves out."""

SPLIT_NAMES = (*SPLITS, UNUSED)

SYNONYMS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""From the names that a source may give a split, in lower case, to ours."""

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


def write_splits(manifest: Path, splits: "pd.Series[str]", path: Path) -> None:
    """Write the splits table; a manifest in Parquet files is copied file by file, never held in memory as a whole.

    Args:
        manifest: the table of images.
        splits: the split of each row of the manifest, in its order.
        path: of the table; it has the manifest's columns and format.
    """
    if manifest.is_dir():
        write_shards(_shards_with(splits, manifest), path)
    else:
        write_csv(read_manifest(manifest).assign(split=splits.to_numpy()), path)


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


def _shards_with(splits: "pd.Series[str]", manifest: Path) -> Iterator[pd.DataFrame]:
    start = 0
    for shard in read_each_shard(manifest):
        yield shard.assign(split=splits.iloc[start : start + len(shard)].to_numpy())
        start += len(shard)
