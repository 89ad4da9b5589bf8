"""How well frozen features serve other people's images: the pipeline's own split and head, over shots and seeds.

Letters: n images, d features, c classes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from stages.graft.backbone.network import run_batch
from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.core.threads import in_threads
from stages.graft.data.candidates import Candidate
from stages.graft.data.open_source import open_source
from stages.graft.data.split_assignment import assign_splits
from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.logistic import fit_logistic
from stages.graft.images.decode import decode, resize_and_crop

PIXELS_PX = 32
"""Side of the grey images that the pixel baseline sees, in pixels."""

BATCH_SIZE = 32
VAL_FRACTION = TEST_FRACTION = 0.15

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A data set small enough to hold."""

    name: str
    """For the table."""
    table: pd.DataFrame
    """Columns id, label, group, split; a row for each of n images."""
    images: Sequence[Image.Image]
    """Upright RGB, n of them."""


def read_set(name: str, source: str, cache: Path) -> LabelledSet:
    """Decode every image of a source; of identical files, one is kept.

    Raises:
        DataError: the source is not there, or an image of it cannot be decoded; names the file.
    """
    with open_source(source, cache) as opened:

        def read(one: Candidate) -> tuple[str, tuple[str, str, str, Image.Image]]:
            try:
                data = one.read()
                return hashlib.sha256(data).hexdigest(), (one.label, one.group, one.split, decode(data))
            except DataError as error:
                raise DataError(f"{opened.name}: {one.file}: {error}; repair or remove it") from None

        chosen = [one for one in opened.candidates if one.label and one.claims_to_be_image]
        rows = dict(in_threads(read, chosen))
    columns = ["label", "group", "split", "image"]
    frame = pd.DataFrame(rows.values(), columns=columns).assign(id=list(rows)).sort_values("id")
    table = frame[["id", "label", "group", "split"]].reset_index(drop=True)
    return LabelledSet(name=name, table=table, images=frame["image"].tolist())


def network_features(labelled: LabelledSet, trunk: torch.nn.Module, input_px: int) -> Float32:
    """Features of a network that takes uint8 squares of `input_px`; shape (n, d), float32."""
    batches = []
    with Progress(len(labelled.images), desc=f"extract {labelled.name}", unit="images") as progress:
        for start in range(0, len(labelled.images), BATCH_SIZE):
            chunk = labelled.images[start : start + BATCH_SIZE]
            pixels = np.stack([resize_and_crop(image, input_px, input_px) for image in chunk])
            batches.append(run_batch(trunk, pixels, BATCH_SIZE, torch.device("cpu")))
            progress.advance(len(chunk))
    return np.concatenate(batches)


def pixel_features(labelled: LabelledSet) -> Float32:
    """The baseline: grey pixels at 32 by 32, shape (n, 1024), float32."""
    size = (PIXELS_PX, PIXELS_PX)
    grey = [np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)) for image in labelled.images]
    return np.stack(grey).reshape(len(grey), -1).astype(np.float32)


def accuracies(
    labelled: LabelledSet, x: Float32, shots: Sequence[int | None], num_seeds: int, l2_grid: Sequence[float]
) -> Iterator[tuple[str, list[float]]]:
    """Fit the logistic head for each number of training images a class, and score the test images once each.

    Args:
        labelled: the data set.
        x: its features, shape (n, d).
        shots: training images per class; None for all of a 70/15/15 split.
        num_seeds: split seeds 0, 1, …; validation and test keep their sizes.
        l2_grid: penalties among which validation chooses.
    Returns:
        For each number of shots, its name and the test accuracy of each seed.
    """
    for train_per_class in shots:
        name = "all" if train_per_class is None else str(train_per_class)
        yield name, [_accuracy(labelled.table, x, train_per_class, seed, l2_grid) for seed in range(num_seeds)]


def _accuracy(
    table: pd.DataFrame, x: Float32, train_per_class: int | None, seed: int, l2_grid: Sequence[float]
) -> float:
    sides = assign_splits(table, seed, VAL_FRACTION, TEST_FRACTION, train_per_class).to_numpy()
    classes = tuple(sorted(set(table["label"])))
    y = np.searchsorted(np.array(classes), table["label"].to_numpy(dtype=str)).astype(np.int64)
    sets = [
        FeatureSet(ids=tuple(table["id"][sides == side]), x=x[sides == side], y=y[sides == side], classes=classes)
        for side in ("train", "val", "test")
    ]
    head, _ = fit_logistic(sets[0], sets[1], l2_grid, class_weights(sets[0].y, classes, "none"))
    return float((head.logits(sets[2].x).argmax(axis=1) == sets[2].y).mean())
