"""How well frozen features serve other images: the pipeline's own split and heads, over shots and seeds.

Letters: n images, d features, c classes.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, PositiveInt

from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.core.params import Params
from stages.graft.core.progress import Progress
from stages.graft.core.threads import in_threads
from stages.graft.data.candidates import Candidate
from stages.graft.data.decoded_arrays import labelled_candidates
from stages.graft.data.open_source import open_source
from stages.graft.data.split_assignment import assign_splits
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.crop import decode_square
from stages.graft.images.decode import Batch, decode
from stages.graft.images.preprocessing import Fit, Preprocessing
from stages.graft.metrics.classification import accuracy, log_loss
from stages.graft.storage.cache_folder import store_folder

PIXELS_PX = 32
"""Side of the grey images that the pixel baseline sees, in pixels."""

Compute = Callable[[Batch], Float32]
"""From a whole batch of images (n, h, w, 3), uint8, to features (n, d)."""


class DatasetParams(Params):
    """A data set of the section `transfer`."""

    source: str
    """As in `ingest.source`; one that does not exist is an error."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of each class for the test; 0: the images that the source's split column names."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of each class for validation."""


class TransferParams(Params):
    """The section `transfer` of data/backbones/params.yaml."""

    datasets: dict[str, DatasetParams]
    """By name."""
    fit: Fit
    """How an image becomes the network's square, as in `backbone.fit`."""
    networks: tuple[str, ...]
    """Bundled networks."""
    heads: Annotated[tuple[Literal["auto", "lda", "logistic", "prototype"], ...], Field(min_length=1)]
    """Kinds of heads on one view of each image; on more views, the first kind alone."""
    views: tuple[Literal[1, 4], ...]
    """Views whose features are averaged, as in `extract.views`."""
    shots: tuple[PositiveInt | None, ...]
    """Training images per class; null for all."""
    num_seeds: PositiveInt
    """Split seeds 0, 1, …; validation and test keep their sizes."""


@dataclass(frozen=True)
class Draws:
    """Splits of a data set."""

    shots: int | None
    """Training images per class; None for all."""
    num_seeds: int
    """s; the seeds are 0, 1, …"""
    dataset: DatasetParams
    """The shares of validation and test."""


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A data set small enough for memory."""

    name: str
    """Name in the table."""
    table: pd.DataFrame
    """Columns id, file, label, group, split; a row for each of n images, in the order of the ids."""
    files: Sequence[bytes]
    """The image files, n of them."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Features, and the kinds of heads that are fitted to them."""

    network: str
    """Name of the network, or pixels."""
    weights: str
    """bundled or random; empty for pixels."""
    views: int
    """Number of views of each image."""
    heads: Sequence[str]
    """Kinds of heads."""
    x: Float32
    """Features, shape (n, d)."""


def read_set(name: str, source: str, cache: Path) -> LabelledSet:
    """Read every image file of a source; of identical files, keep one.

    Raises:
        DataError: the source does not exist.
    """
    with open_source(source, cache) as opened:
        found: dict[str, tuple[bytes, Candidate]] = {}
        for candidate in labelled_candidates(opened):
            data = candidate.read()
            found[hashlib.sha256(data).hexdigest()] = (data, candidate)
    rows = [(id_, one.file, one.label, one.group, one.split) for id_, (_, one) in sorted(found.items())]
    table = pd.DataFrame(rows, columns=["id", "file", "label", "group", "split"])
    return LabelledSet(name=name, table=table, files=[found[id_][0] for id_ in table["id"]])


def network_features(labelled: LabelledSet, weights: Weights) -> Float32:
    """Compute the features of all images as extraction does, shape (n, d), float32; errors as in `batch_features`."""
    runtime = choose_runtime(weights, AUTOMATIC, store_folder() / "networks")
    return batch_features(labelled, weights.preprocessing, runtime.load(), int(runtime.record["batch_size"]))


def batch_features(labelled: LabelledSet, preprocessing: Preprocessing, compute: Compute, batch_size: int) -> Float32:
    """Compute the features of all images, shape (n, d), float32.

    Args:
        labelled: the images.
        preprocessing: how they are prepared.
        compute: takes batches of exactly `batch_size` images.
        batch_size: in images.
    Raises:
        DataError: an image cannot be decoded; names the set and the file.
    """
    rows: list[Float32] = []
    with Progress(len(labelled.files), desc=f"extract {labelled.name}", unit="images") as progress:
        for squares in _batches(labelled, preprocessing, batch_size):
            padding = np.zeros((batch_size - len(squares), *squares.shape[1:]), np.uint8)
            rows.append(compute(np.concatenate([squares, padding]))[: len(squares)])
            progress.advance(len(squares))
    return np.concatenate(rows)


def pixel_features(labelled: LabelledSet) -> Float32:
    """The baseline: grey pixels at 32 by 32, shape (n, 1024), float32."""
    size = (PIXELS_PX, PIXELS_PX)
    grey = [np.asarray(decode(data).convert("L").resize(size, 2)) for data in labelled.files]  # 2: bilinear
    return np.stack(grey).reshape(len(grey), -1).astype(np.float32)


def transfer_rows(
    labelled: LabelledSet,
    measured: Measured,
    params: TransferParams,
    dataset: DatasetParams,
    head_params: TrainHeadParams,
) -> list[dict[str, object]]:
    """Fit heads with each number of training images a class, and score the test images once for each seed.

    Args:
        labelled: the data set.
        measured: its features, and the kinds of heads.
        params: numbers of training images, seeds.
        dataset: shares of the images for validation and test.
        head_params: the section `train_head` of the pipeline, but for the kind.
    Returns:
        The table's rows, one for each head and number of training images.
    """
    rows: list[dict[str, object]] = []
    for head in measured.heads:
        kind = head_params.model_copy(update={"kind": head})
        for shots in params.shots:
            scores = score_splits(labelled, measured.x, Draws(shots, params.num_seeds, dataset), kind)
            accuracies, losses = scores.T
            row: dict[str, object] = {
                "dataset": labelled.name,
                "network": measured.network,
                "weights": measured.weights,
                "views": measured.views,
                "head": head,
                "train_per_class": str(shots or "all"),
                "accuracy": round(float(accuracies.mean()), 4),
                "std": round(float(accuracies.std(ddof=1)) if params.num_seeds > 1 else 0.0, 4),
                "log_loss": round(float(losses.mean()), 4),
                "seeds": params.num_seeds,
            }
            rows.append(row)
            print("transfer: " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return rows


def score_splits(
    labelled: LabelledSet, x: Float32, draws: Draws, head_params: TrainHeadParams
) -> npt.NDArray[np.float64]:
    """Fit a head to the training images of each split; give accuracy and log loss of its test images, shape (s, 2)."""
    return np.array([_score(labelled.table, x, draws, seed, head_params) for seed in range(draws.num_seeds)])


def _score(
    table: pd.DataFrame, x: Float32, draws: Draws, seed: int, head_params: TrainHeadParams
) -> tuple[float, float]:
    sides = assign_splits(table, seed, draws.dataset.val_fraction, draws.dataset.test_fraction, draws.shots).to_numpy()
    classes = tuple(sorted(set(table["label"])))
    y = np.searchsorted(np.array(classes), table["label"].to_numpy(dtype=str)).astype(np.int64)
    train, val, test = (
        FeatureSet(
            ids=tuple(table["id"][sides == side]),
            x=x[sides == side],
            y=y[sides == side],
            classes=classes,
            groups=tuple(table["group"][sides == side]),
        )
        for side in ("train", "val", "test")
    )
    logits = fit_head(head_params, train, val, lambda *_: None).head.logits(test.x)
    return accuracy(logits.argmax(axis=1), test.y), log_loss(logits, test.y)


def _batches(labelled: LabelledSet, preprocessing: Preprocessing, batch_size: int) -> Iterator[Batch]:
    """Decode all images, a batch at a time; the last batch can be short."""
    squares = in_threads(partial(_square, labelled, preprocessing), range(len(labelled.files)))
    while batch := [square for _, square in zip(range(batch_size), squares, strict=False)]:
        yield np.stack(batch)


def _square(labelled: LabelledSet, p: Preprocessing, row: int) -> Batch:
    try:
        return decode_square(labelled.files[row], p)
    except DataError as error:
        file = labelled.table["file"].iloc[row]
        raise DataError(f"{labelled.name}: {file}: {error}; repair or remove it") from None
