"""The packed features file, with one row per image, and the features of each split.

Letters: n images, d features, c classes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import unpack_ids
from stages.graft.data.splits import COLUMNS, read_splits
from stages.graft.storage.arrays import Array, read_arrays, read_metadata

MAX_SINGLE_THREAD = 2**23
"""Largest number of values in the features for which a head is fitted with one thread. With so few values, threads wait
longer than they compute, on a busy machine 30 times as long; and one thread always gives the same bits."""


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Features and labels of one split."""

    ids: tuple[str, ...]
    """SHA-256 of each image's bytes, hex, n of them."""
    x: npt.NDArray[np.float32]
    """Features, shape (n, d), float32."""
    y: npt.NDArray[np.int64]
    """Class indices in [0, c), shape (n,), int64."""
    classes: tuple[str, ...]
    """Names of the c classes, sorted, in the order of their indices; the same for every split."""
    groups: tuple[str, ...] = ()
    """Name of each image's group, "" for none, n of them; empty when no image has one."""
    unlabelled: npt.NDArray[np.float32] | None = None
    """Features of images without a label, shape (m, d): they tell a head with few labels how features vary."""


MAX_UNLABELLED = 20_000
"""Images without labels that heads are told of, at most; of more, evenly spread ones."""


def with_unlabelled(images: FeatureSet, path: Path) -> FeatureSet:
    """Add the features of images without labels from their file; where it has none, nothing changes."""
    x = read_features(path)[1]
    if not len(x):
        return images
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_UNLABELLED)).round().astype(np.int64))
    return replace(images, unlabelled=x[some])


def groups_of(images: FeatureSet) -> list[str]:
    """Name the group of every image, "" for none."""
    return list(images.groups) or [""] * len(images.y)


def select_rows(images: FeatureSet, rows: npt.NDArray[np.int64]) -> FeatureSet:
    """Give the images of these rows."""
    ids, groups = (tuple(names[row] for row in rows) if names else () for names in (images.ids, images.groups))
    return replace(images, ids=ids, x=images.x[rows], y=images.y[rows], groups=groups)


def read_features(path: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read ids and features, in manifest order."""
    arrays = read_arrays(path)
    return unpack_ids(arrays["ids"]), arrays["features"]


def read_backbone_record(path: Path) -> dict[str, Any]:
    """Read the record of the backbone: network, weights and their SHA-256, layers, preprocessing."""
    return dict(read_metadata(path)["backbone"])


def read_precision(path: Path) -> str | None:
    """Read the precision in which the features were computed; None for a file of an older version."""
    precision: str | None = read_metadata(path).get("precision")
    return precision


def read_white_level(path: Path) -> float | None:
    """Read the white level, as in `decode`, of the images whose features are in a file."""
    white_level: float | None = read_backbone_record(path).get("preprocessing", {}).get("white_level")
    return white_level


def load_features(features: Path, splits: Path, *names: str) -> list[FeatureSet]:
    """Read the features of the named splits ("train", "val", "test", "unused") of the splits table, in order of id.

    Raises:
        DataError: an image of a split has no features.
    """
    ids, x = read_features(features)
    table = read_splits(splits, (*COLUMNS, "group"))
    row_of = {id_: row for row, id_ in enumerate(ids)}
    missing = [id_ for id_ in table["id"] if id_ not in row_of]
    if missing:
        raise DataError(f"{features} lacks {len(missing)} images of {splits} (first: {missing[0]}); run `dvc repro`")
    classes = tuple(sorted(table["label"].unique()))
    return [_select(table[table["split"] == name], row_of, x, classes) for name in names]


def _select(rows: Any, row_of: dict[str, int], x: Array, classes: tuple[str, ...]) -> FeatureSet:
    index = [row_of[id_] for id_ in rows["id"]]
    y = np.searchsorted(np.array(classes), rows["label"].to_numpy(dtype=str)).astype(np.int64)
    return FeatureSet(ids=tuple(rows["id"]), x=x[index], y=y, classes=classes, groups=tuple(rows["group"]))
