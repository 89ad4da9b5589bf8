"""Beside the pipeline, transfer: how well the bundled backbone's frozen features serve other images.

Reads   the bundled backbone, the data sets that data/backbones/params.yaml names
Writes  data/backbones/<name>_transfer.csv
Params  pretrain.name and transfer, in data/backbones/params.yaml
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import PositiveFloat, PositiveInt

from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.pretrain import PretrainParams
from stages.pretraining.transfer_accuracy import (
    Float32,
    LabelledSet,
    accuracies,
    network_features,
    pixel_features,
    read_set,
)

BACKBONES = Path("data/backbones")


class TransferParams(Params):
    """The section `transfer` of data/backbones/params.yaml."""

    datasets: dict[str, str]
    """Name and source of each data set; a source that is not there is an error."""
    shots: tuple[PositiveInt | None, ...]
    """Training images per class; null for all of a 70/15/15 split."""
    num_seeds: PositiveInt
    """Split seeds 0, 1, …"""
    l2_grid: tuple[PositiveFloat, ...]
    """Penalties among which validation chooses, as in the root's train_head.l2_grid."""


def transfer_rows(labelled: LabelledSet, features: str, x: Float32, params: TransferParams) -> list[dict[str, object]]:
    """One row of the table for each number of shots."""
    rows: list[dict[str, object]] = []
    for shots, found in accuracies(labelled, x, params.shots, params.num_seeds, params.l2_grid):
        mean, std = round(float(np.mean(found)), 4), round(float(np.std(found, ddof=1)), 4) if len(found) > 1 else 0.0
        rows.append(
            {
                "dataset": labelled.name,
                "features": features,
                "train_per_class": shots,
                "accuracy": mean,
                "std": std,
                "seeds": len(found),
            }
        )
        print(f"transfer: {labelled.name}, {features}, {shots} per class: {mean:.1%} ± {std:.1%}")
    return rows


def main() -> None:
    """Measure the bundled network, the same network with random weights, and grey pixels."""
    name = load_params("pretrain", PretrainParams, BACKBONES / "params.yaml").name
    params = load_params("transfer", TransferParams, BACKBONES / "params.yaml")
    bundled = find_weights(BackboneParams(name=name, weights="bundled", sha256=None, input_px=None), BACKBONES)
    input_px = bundled.preprocessing.crop_px
    random = find_weights(BackboneParams(name=name, weights="random", sha256=None, input_px=input_px), BACKBONES)
    random = replace(random, layers=bundled.layers, pooling=bundled.pooling)
    rows = []
    for dataset, source in params.datasets.items():
        labelled = read_set(dataset, source, store_folder())
        for kind, weights in (("bundled", bundled), ("random", random)):
            rows += transfer_rows(labelled, kind, network_features(labelled, load_backbone(weights), input_px), params)
        rows += transfer_rows(labelled, "pixels", pixel_features(labelled), params)
    write_csv(pd.DataFrame(rows), BACKBONES / f"{name}_transfer.csv")


if __name__ == "__main__":
    run("transfer", main)
