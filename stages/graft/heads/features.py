"""The packed features file, with one row per image, and the features of each split.

Letters: n images, d features, c classes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import unpack_ids
from stages.graft.data.splits import COLUMNS, read_splits
from stages.graft.metrics.sampling import stratified_rows
from stages.graft.storage.arrays import map_array, read_metadata

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


def sample(images: FeatureSet, num_images: int) -> FeatureSet:
    """Give about so many images, the same share of every class; when there are fewer, all of them."""
    return images if len(images.y) <= num_images else select_rows(images, stratified_rows(images.y, num_images))


def read_features(path: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read ids and features, in manifest order; the features are mapped, so that only the rows taken are in memory."""
    return unpack_ids(map_array(path, "ids")), map_array(path, "features")


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
    table = read_splits(splits, (*COLUMNS, "group"))
    everything = _features_of(table, features, splits)
    return [select_rows(everything, np.flatnonzero(table["split"] == name)) for name in names]


def load_all_features(features: Path, splits: Path) -> FeatureSet:
    """Read the features of all images of the splits table, in its order; errors are those of `load_features`.

    They stay mapped where the file has the same images in the same order, as it has when extract has just written it.
    """
    return _features_of(read_splits(splits, (*COLUMNS, "group")), features, splits)


def _features_of(table: pd.DataFrame, features: Path, splits: Path) -> FeatureSet:
    ids, x = read_features(features)
    wanted = tuple(table["id"])
    if wanted != tuple(ids):
        row_of = {id_: row for row, id_ in enumerate(ids)}
        missing = [id_ for id_ in wanted if id_ not in row_of]
        if missing:
            raise DataError(
                f"{features} lacks {len(missing)} images of {splits} (first: {missing[0]}); run `dvc repro`"
            )
        x = x[[row_of[id_] for id_ in wanted]]
    classes = tuple(sorted(table["label"].unique()))
    y = np.searchsorted(np.array(classes), table["label"].to_numpy(dtype=str)).astype(np.int64)
    return FeatureSet(ids=wanted, x=x, y=y, classes=classes, groups=tuple(table["group"]))
