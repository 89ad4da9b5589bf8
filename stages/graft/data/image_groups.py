"""Groups of images that stay on one side of a split: the user's own, joined with groups of near-duplicates."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.core.params import Params
from stages.graft.data.splits import SPLITS

PAIR_KINDS = SAME, STRICT, RELATED = "same pixels", "strict", "related"
"""Near-duplicates: the same pixels in other bytes; the same picture, changed; the same thing again, or a part of it."""

Method = Literal["off", "strict", "related"]

KINDS: dict[Method, tuple[str, ...]] = {"off": (), "strict": (SAME, STRICT), "related": PAIR_KINDS}
"""Kinds of pairs that a method joins."""

DUPLICATES = "duplicates"
"""Column with the name of each image's group of near-duplicates; empty for an image without any."""

LIKE = "like"
"""Column of an image without label: the id of a labelled one that shows the same; empty for an image without any."""

Codes = npt.NDArray[np.int64]
"""A number for each image, shape (n,)."""


class DuplicatesParams(Params):
    """The section `duplicates`."""

    method: Method
    """Pairs that make a group: none; those of the same picture; also those of the same thing, or a part of it."""


def connected(first: Codes, second: Codes, num_nodes: int) -> Codes:
    """Number the connected parts of a graph in the order of their first node, shape (num_nodes,).

    Args:
        first, second: numbers of the nodes at the ends of each edge.
        num_nodes: nodes, with and without edges; only those with edges cost time.
    Source:
        Tarjan and van Leeuwen, Worst-case analysis of set union algorithms, JACM 1984 (path halving).
    """
    parent = {node: node for node in np.union1d(first, second).tolist()}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    codes = np.arange(num_nodes)
    codes[list(parent)] = [root(node) for node in parent]
    return in_order(codes)


def in_order(values: npt.ArrayLike) -> Codes:
    """Number values from 0 in the order in which they first occur."""
    return np.asarray(pd.factorize(np.asarray(values))[0], dtype=np.int64)


def independent_groups(images: pd.DataFrame) -> Codes:
    """Number the groups of images that are no independent evidence: of one group, or near-duplicates.

    Args:
        images: columns `group` and `duplicates`, either may be missing; empty text means none.
    """
    codes = _named(images["group"]) if "group" in images else np.arange(len(images))
    if DUPLICATES in images:
        first, second = _edges(images[DUPLICATES])
        codes = connected(codes[first], codes[second], len(images))[codes]
    return codes


def join_duplicates(manifest: pd.DataFrame) -> "pd.Series[str]":
    """Join the user's groups with the near-duplicates, as far as the splits that the manifest gives allow.

    A joined group is named after the first of the user's groups in it or, without one, after its first image. When the
    manifest puts near-duplicates in different splits they stay there, and those without a split join the first of them.

    Args:
        manifest: columns id and duplicates, and where there are any group and split.
    Returns:
        The name of each image's group; empty for an image of its own.
    """
    own = manifest["group"] if "group" in manifest else pd.Series("", manifest.index, dtype=str)
    if (manifest[DUPLICATES] == "").all():
        return own
    codes = independent_groups(manifest)
    codes = _divided(codes, own, manifest["split"]) if "split" in manifest else codes
    names = own.where(own != "").groupby(codes).transform("min")
    names = names.fillna(manifest["id"].groupby(codes).transform("min"))
    is_alone = (np.bincount(codes)[codes] == 1) & (own == "")
    return names.mask(is_alone, "").astype(str)


def leaked(images: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which test images have a near-duplicate in train or val, shape (n,).

    Args:
        images: all that the model was made with, columns duplicates and split.
    """
    seen = images[DUPLICATES][images["split"].isin(["train", "val"])]
    is_test = (images["split"] == "test") & (images[DUPLICATES] != "")
    return (is_test & images[DUPLICATES].isin(seen)).to_numpy(dtype=bool)


def leaks_record(images: pd.DataFrame, is_checked: bool) -> dict[str, int | None]:
    """Count the groups in test that are independent evidence, and the test images that leak.

    Args:
        images: all of them, columns group, duplicates and split.
        is_checked: whether near-duplicates were looked for; without it their number is None.
    """
    in_test = independent_groups(images)[(images["split"] == "test").to_numpy(dtype=bool)]
    return {"num_test_groups": len(np.unique(in_test)), "num_leaked": int(leaked(images).sum()) if is_checked else None}


def format_leaks(record: Mapping[str, int | None]) -> str:
    """Say how independent the test images are of train, validation and each other; it follows the counts of a line."""
    num_leaked = record["num_leaked"]
    groups = ""
    if record["num_test_groups"] != record["num_test"]:
        groups = f"; the test images are {record['num_test_groups']} independent groups"
    if num_leaked is None:
        return f"{groups}; near-duplicates were not looked for"
    has = "has" if num_leaked < 2 else "have"
    images = "image" if num_leaked < 2 else "images"
    return f"{groups}; {num_leaked or 'no'} test {images} {has} a near-duplicate in train or validation"


def _named(names: "pd.Series[str]") -> Codes:
    """Number images by the name of their group; an image without a name has a number of its own."""
    codes, unique = pd.factorize(names)
    is_alone = (names == "").to_numpy(dtype=bool)
    return in_order(np.where(is_alone, len(unique) + np.arange(len(names)), codes))


def _edges(names: "pd.Series[str]") -> tuple[Codes, Codes]:
    """An edge from each named image to the next one of the same name."""
    codes = pd.factorize(names)[0]
    rows = np.flatnonzero((names != "").to_numpy(dtype=bool))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    is_same = codes[rows[1:]] == codes[rows[:-1]]
    return rows[:-1][is_same], rows[1:][is_same]


def _divided(codes: Codes, own: "pd.Series[str]", splits: "pd.Series[str]") -> Codes:
    """Divide each group by the splits given in it; a group of the user stays whole."""
    order = {name: number for number, name in enumerate(SPLITS)}
    given = splits.map(order).astype(float)  # NaN where none is given
    units = own.where(own != "", pd.Series(range(len(own)), own.index).astype(str).radd("\0"))
    given = given.groupby(units.to_numpy()).transform("min")
    given = given.fillna(given.groupby(codes).transform("min")).fillna(0)
    return in_order(codes * len(SPLITS) + given.to_numpy(dtype=np.int64))
