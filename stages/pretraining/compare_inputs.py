"""Beside the pipeline, compare_inputs: what the bundled network should be shown of an image.

Squash, pad and crop, and one view or four, with the pipeline's own decoding, network and head, on the same splits.

Reads   the bundled backbone, the data sets that data/backbones/params.yaml names; strips are generated
Writes  data/backbones/<name>_inputs.csv
Params  compare_inputs, in data/backbones/params.yaml; train_head
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, PositiveInt

from stages.graft.backbone.weights import BackboneParams, Weights, find_weights
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.decode import decode
from stages.graft.images.preprocessing import Fit
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.strips import write_strips
from stages.pretraining.transfer_accuracy import (
    DatasetParams,
    Draws,
    LabelledSet,
    network_features,
    read_set,
    score_splits,
)

BACKBONES, STRIPS = Path("data/backbones"), "strips"

FRACTION = 0.15
"""Share of the strips for validation, and for the test."""


class ComparedSet(DatasetParams):
    """A data set of the section `compare_inputs`."""

    height: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the height of each image that is kept, at a random place, to make long images; 1: all."""


class Shown(Params):
    """What the network is shown of an image."""

    fit: Fit
    """As in `backbone.fit`."""
    views: Literal[1, 4]
    """As in `extract.views`."""


class CompareInputsParams(Params):
    """The section `compare_inputs` of data/backbones/params.yaml."""

    network: str
    """Name of the bundled network."""
    datasets: dict[str, ComparedSet]
    """By name, as in the section `transfer`."""
    variants: tuple[Shown, ...]
    """What is compared with the first of them."""
    head: Literal["auto", "lda", "logistic", "prototype"]
    """Kind of the head; the rest is as in `train_head`."""
    shots: tuple[PositiveInt | None, ...]
    """Training images per class; null for all."""
    num_seeds: PositiveInt
    """Split seeds 0, 1, …"""


def main() -> None:
    """Measure every variant on every data set, and on generated strips."""
    params = load_params("compare_inputs", CompareInputsParams, BACKBONES / "params.yaml")
    backbone = BackboneParams(name=params.network, weights="bundled", sha256=None, input_px=None)
    weights, rows = find_weights(backbone, BACKBONES), list[dict[str, object]]()
    with temporary_folder(store_folder(), "inputs") as folder:
        write_strips(folder / STRIPS)
        strips = ComparedSet(source=str(folder / STRIPS), val_fraction=FRACTION, test_fraction=FRACTION)
        for name, dataset in {**params.datasets, STRIPS: strips}.items():
            labelled = cut(read_set(name, dataset.source, folder), dataset.height)
            for row in compare(labelled, weights, params, dataset):
                rows.append(row)
                print(f"compare_inputs: {row}", flush=True)
    write_csv(pd.DataFrame(rows), BACKBONES / f"{params.network}_inputs.csv")


def cut(labelled: LabelledSet, height: float) -> LabelledSet:
    """Keep a share of the height of every image, at a place that its id draws; 1 changes nothing."""
    if height == 1:
        return labelled
    files = []
    for data, id_ in zip(labelled.files, labelled.table["id"], strict=True):
        image, file = decode(data), io.BytesIO()
        kept = max(1, round(height * image.height))
        top = int(id_, 16) % (image.height - kept + 1)
        image.crop((0, top, image.width, top + kept)).save(file, "PNG")
        files.append(file.getvalue())
    return replace(labelled, files=files)


def compare(
    labelled: LabelledSet, weights: Weights, params: CompareInputsParams, dataset: ComparedSet
) -> Iterator[dict[str, object]]:
    """Score every variant for each number of training images; `gain` is against the first variant, seed by seed."""
    first = dict[int | None, npt.NDArray[np.float64]]()
    head_params = load_params("train_head", TrainHeadParams).model_copy(update={"kind": params.head})
    for shown in params.variants:
        preprocessing = replace(weights.preprocessing, fit=shown.fit)
        x = network_features(labelled, replace(weights, preprocessing=preprocessing, views=shown.views))
        for shots in params.shots:
            draws = Draws(shots, params.num_seeds, dataset)
            accuracy = score_splits(labelled, x, draws, head_params)[:, 0]
            gains = accuracy - first.setdefault(shots, accuracy)
            yield {
                "dataset": labelled.name,
                "fit": shown.fit,
                "views": shown.views,
                "head": params.head,
                "train_per_class": str(shots or "all"),
                "accuracy": round(float(accuracy.mean()), 4),
                "gain": round(float(gains.mean()), 4),
                "gain_error": standard_error(gains),
                "seeds": params.num_seeds,
            }


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Give the standard error of a mean; 0 for one value."""
    return round(float(np.std(values, ddof=1) / len(values) ** 0.5), 4) if len(values) > 1 else 0.0


if __name__ == "__main__":
    run("compare_inputs", main)
