"""How well frozen features serve other images: the pipeline's own split and head, over shots and seeds.

Letters: n images, d features, c classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from pydantic import PositiveFloat, PositiveInt

from stages.graft.backbone.network import run_batch
from stages.graft.core.params import Params
from stages.graft.core.progress import Progress
from stages.graft.core.threads import in_threads
from stages.graft.data.decoded_arrays import labelled_candidates, read_candidate
from stages.graft.data.open_source import open_source
from stages.graft.data.split_assignment import assign_splits
from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32
from stages.graft.heads.logistic import fit_logistic
from stages.graft.images.decode import resize_and_crop

PIXELS_PX = 32
"""Side of the grey images that the pixel baseline sees, in pixels."""

BATCH_SIZE = 32
VAL_FRACTION = TEST_FRACTION = 0.15


class TransferParams(Params):
    """The section `transfer` of data/backbones/params.yaml."""

    datasets: dict[str, str]
    """Name and source of each data set; a source that does not exist is an error."""
    shots: tuple[PositiveInt | None, ...]
    """Training images per class; null for all of a 70/15/15 split."""
    num_seeds: PositiveInt
    """Split seeds 0, 1, …; validation and test keep their sizes."""
    l2_grid: tuple[PositiveFloat, ...]
    """Penalties among which validation chooses, as in the root's train_head.l2_grid."""


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A data set small enough for memory."""

    name: str
    """Name in the table."""
    table: pd.DataFrame
    """Columns id, label, group, split; a row for each of n images, in the order of the ids."""
    images: Sequence[Image.Image]
    """Upright RGB, n of them."""


def read_set(name: str, source: str, cache: Path) -> LabelledSet:
    """Decode every image of a source; of identical files, keep one.

    Raises:
        DataError: the source does not exist, or an image of it cannot be decoded; names the file.
    """
    with open_source(source, cache) as opened:
        candidates = labelled_candidates(opened)
        files = in_threads(partial(read_candidate, opened), candidates)
        decoded = {id_: (image, candidate) for candidate, (id_, image) in zip(candidates, files, strict=True)}
    images = sorted(decoded.items(), key=itemgetter(0))
    rows = [(id_, candidate.label, candidate.group, candidate.split) for id_, (_, candidate) in images]
    table = pd.DataFrame(rows, columns=["id", "label", "group", "split"])
    return LabelledSet(name=name, table=table, images=[image for _, (image, _) in images])


def network_features(labelled: LabelledSet, backbone: torch.nn.Module, input_px: int) -> Float32:
    """Features of a network that takes uint8 squares of `input_px`; shape (n, d), float32."""
    batches = []
    with Progress(len(labelled.images), desc=f"extract {labelled.name}", unit="images") as progress:
        for start in range(0, len(labelled.images), BATCH_SIZE):
            chunk = labelled.images[start : start + BATCH_SIZE]
            pixels = np.stack([resize_and_crop(image, input_px, input_px) for image in chunk])
            batches.append(run_batch(backbone, pixels, BATCH_SIZE, torch.device("cpu")))
            progress.advance(len(chunk))
    return np.concatenate(batches)


def pixel_features(labelled: LabelledSet) -> Float32:
    """The baseline: grey pixels at 32 by 32, shape (n, 1024), float32."""
    size = (PIXELS_PX, PIXELS_PX)
    grey = [np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)) for image in labelled.images]
    return np.stack(grey).reshape(len(grey), -1).astype(np.float32)


def transfer_rows(labelled: LabelledSet, features: str, x: Float32, params: TransferParams) -> list[dict[str, object]]:
    """Fit the logistic head with each number of training images a class, and score the test images once for each seed.

    Args:
        labelled: the data set.
        features: name of the features in the table.
        x: the features, shape (n, d).
        params: numbers of training images, seeds, penalties.
    Returns:
        The table's rows, one for each number of training images.
    """
    rows: list[dict[str, object]] = []
    for shots, values in accuracies(labelled, x, params):
        mean, std = round(float(np.mean(values)), 4), round(float(np.std(values, ddof=1)), 4) if values[1:] else 0.0
        row = {"dataset": labelled.name, "features": features, "train_per_class": shots}
        rows.append(row | {"accuracy": mean, "std": std, "seeds": len(values)})
        print(f"transfer: {labelled.name}, {features}, {shots} per class: {mean:.1%} ± {std:.1%}")
    return rows


def accuracies(labelled: LabelledSet, x: Float32, params: TransferParams) -> Iterator[tuple[str, list[float]]]:
    """Give each number of training images a class, or all, and the test accuracy of each seed."""
    for shots in params.shots:
        seeds = range(params.num_seeds)
        yield str(shots or "all"), [_accuracy(labelled.table, x, shots, seed, params.l2_grid) for seed in seeds]


def _accuracy(table: pd.DataFrame, x: Float32, shots: int | None, seed: int, l2_grid: Sequence[float]) -> float:
    sides = assign_splits(table, seed, VAL_FRACTION, TEST_FRACTION, shots).to_numpy()
    classes = tuple(sorted(set(table["label"])))
    y = np.searchsorted(np.array(classes), table["label"].to_numpy(dtype=str)).astype(np.int64)
    train, val, test = (
        FeatureSet(ids=tuple(table["id"][sides == side]), x=x[sides == side], y=y[sides == side], classes=classes)
        for side in ("train", "val", "test")
    )
    head, _ = fit_logistic(train, val, l2_grid, class_weights(train.y, classes, "none"))
    return float((head.logits(test.x).argmax(axis=1) == test.y).mean())
