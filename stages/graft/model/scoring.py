"""Images as a model sees them: what its last layers read, and what they make of it.

Letters: n images, d features, c classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.heads.features import read_features
from stages.graft.heads.head import Float32, Head
from stages.graft.metrics.classification import Labels

Score = Callable[[Sequence[str]], tuple[Float32, Float32]]
"""From ids, n of them, to features (n, d) and logits (n, c)."""


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """Images as the model sees them; n images, d features, c classes."""

    x: Float32
    """What the last layers read, shape (n, d)."""
    logits: Float32
    """Shape (n, c)."""
    y: Labels
    """True classes, shape (n,); empty for images that are of none."""


def class_indices(labels: Sequence[str], classes: tuple[str, ...]) -> Labels:
    """Turn class names into indices, shape (n,).

    Raises:
        DataError: an image is of a class the model does not know.
    """
    index = {label: k for k, label in enumerate(classes)}
    unknown = sorted(set(labels) - set(index))
    if unknown:
        raise DataError(f"the model knows no class {unknown[0]!r}, only {', '.join(classes)}; run `dvc repro`")
    return np.array([index[label] for label in labels], dtype=np.int64)


def score_split(score: Score, splits: pd.DataFrame, name: str, classes: tuple[str, ...]) -> ScoredSet:
    """Score the images of one split, in order of id.

    Args:
        score: gives features and logits.
        splits: columns id, label, split.
        name: train, val or test.
        classes: in the order of the logits.
    Raises:
        DataError: an image is of a class the model does not know, or cannot be scored.
    """
    rows = splits[splits["split"] == name]
    y = class_indices(rows["label"].to_list(), classes)
    x, logits = score(rows["id"].to_list())
    return ScoredSet(x=x, logits=logits, y=y)


def score_strangers(score: Score, ids: Sequence[str]) -> ScoredSet:
    """Score images that are of no class."""
    x, logits = score(ids)
    return ScoredSet(x=x, logits=logits, y=np.zeros(0, dtype=np.int64))


def score_cached(head: Head, path: Path) -> Score:
    """Score images from a file of their features, whenever some are asked for.

    Args:
        head: reads the features.
        path: the packed features.
    Raises:
        DataError: when called, with an id that the file has not.
    """
    ids, features = read_features(path)
    rows_of = _rows_of(ids, str(path))

    def score(wanted: Sequence[str]) -> tuple[Float32, Float32]:
        x = features[rows_of(wanted)]
        return x, head.logits(x)

    return score


def score_known(ids: Sequence[str], x: Float32, logits: Float32) -> Score:
    """Give what is known of images already scored.

    Args:
        ids: theirs, n of them.
        x: features, shape (n, d).
        logits: shape (n, c).
    Raises:
        DataError: when called, with another id.
    """
    rows_of = _rows_of(ids, "what the network has scored")

    def score(wanted: Sequence[str]) -> tuple[Float32, Float32]:
        rows = rows_of(wanted)
        return x[rows], logits[rows]

    return score


def _rows_of(ids: Sequence[str], name: str) -> Callable[[Sequence[str]], list[int]]:
    row_of = {id_: row for row, id_ in enumerate(ids)}

    def rows_of(wanted: Sequence[str]) -> list[int]:
        missing = [id_ for id_ in wanted if id_ not in row_of]
        if missing:
            raise DataError(f"{name} lacks {len(missing)} images (first: {missing[0]}); run `dvc repro`")
        return [row_of[id_] for id_ in wanted]

    return rows_of
