"""Images scored by a model: the features that its head reads, and the logits.

Letters: n images, d features, c classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.backbone.extraction import embed
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.data.image_groups import independent_groups
from stages.graft.data.splits import SPLITS
from stages.graft.heads.features import read_features
from stages.graft.heads.head import Float32, Head
from stages.graft.images.loading import LocateImage
from stages.graft.metrics.classification import Labels

Score = Callable[[Sequence[str]], tuple[Float32, Float32]]
"""From n ids to features (n, d) and logits (n, c)."""

Chosen = npt.NDArray[np.bool_] | npt.NDArray[np.int64]
"""A mask, or row numbers."""


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """Scored images."""

    x: Float32
    """Features, shape (n, d)."""
    logits: Float32
    """Logits, shape (n, c)."""
    y: Labels
    """True classes, shape (n,)."""
    groups: Labels
    """Number of each image's group: images of one group are no independent evidence, shape (n,)."""

    def rows(self, chosen: Chosen) -> "ScoredSet":
        """Keep some of the images: a mask, shape (n,), or row numbers."""
        return ScoredSet(x=self.x[chosen], logits=self.logits[chosen], y=self.y[chosen], groups=self.groups[chosen])


ScoredSplits = tuple[ScoredSet, ScoredSet, ScoredSet]
"""Train, validation and test."""


def class_indices(labels: Sequence[str], classes: tuple[str, ...]) -> Labels:
    """Turn class names into indices, shape (n,).

    Raises:
        DataError: the model does not know a class.
    """
    index = {label: k for k, label in enumerate(classes)}
    missing = sorted(set(labels) - set(index))
    if missing:
        raise DataError(f"the model knows no class {missing[0]!r}, only {', '.join(classes)}; run `dvc repro`")
    return np.array([index[label] for label in labels], dtype=np.int64)


def score_split(score: Score, splits: pd.DataFrame, name: str, classes: tuple[str, ...]) -> ScoredSet:
    """Score the images of one split, in the order of the table.

    Args:
        score: gives features and logits.
        splits: the table of all images, columns id, label, split and, where there are any, group and duplicates.
        name: of the split.
        classes: those of the model, in the order of its logits.

    Raises:
        DataError: the model does not know a class, or an image cannot be scored.
    """
    chosen = (splits["split"] == name).to_numpy(dtype=bool)
    rows, groups = splits[chosen], independent_groups(splits)[chosen]
    y = class_indices(rows["label"].to_list(), classes)
    x, logits = score(rows["id"].to_list())
    return ScoredSet(x=x, logits=logits, y=y, groups=groups)


def score_splits(score: Score, splits: pd.DataFrame, classes: tuple[str, ...]) -> ScoredSplits:
    """Score the images of train, validation and test, as `score_split` does."""
    train, val, test = (score_split(score, splits, name, classes) for name in SPLITS)
    return train, val, test


def score_cached(head: Head, path: Path) -> Score:
    """Give a function that scores images from the file of their features; it raises a DataError for an id not in it."""
    ids, features = read_features(path)

    def score(rows: list[int]) -> tuple[Float32, Float32]:
        x = features[rows]
        return x, head.logits(x)

    return _by_id(ids, str(path), score)


def score_known(ids: Sequence[str], x: Float32, logits: Float32) -> Score:
    """Give a function that looks up n images already scored, by their ids; it raises a DataError for another id."""
    return _by_id(ids, "what the network has scored", lambda rows: (x[rows], logits[rows]))


def score_images(head: Head, weights: Weights, runtime: Runtime, ids: Sequence[str], locate: LocateImage) -> Score:
    """Score images by sending them through the network, and give a function that looks them up."""
    x = np.concatenate([rows for _, rows in embed(ids, locate, weights.preprocessing, runtime, "score")])
    return score_known(ids, x, head.logits(x))


def _by_id(ids: Sequence[str], source: str, score: Callable[[list[int]], tuple[Float32, Float32]]) -> Score:
    """Turn a function of rows into a function of ids."""
    row_of = {id_: row for row, id_ in enumerate(ids)}

    def score_ids(wanted: Sequence[str]) -> tuple[Float32, Float32]:
        missing = [id_ for id_ in wanted if id_ not in row_of]
        if missing:
            raise DataError(f"{source} lacks {len(missing)} images (first: {missing[0]}); run `dvc repro`")
        x, logits = score([row_of[id_] for id_ in wanted])
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            first = wanted[int(bad[0])]
            raise DataError(f"the model's output is not finite for {len(bad)} images (first: {first}); is it trained?")
        return x, logits

    return score_ids
