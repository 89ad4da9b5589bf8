"""Beside the pipeline, transfer: how well the bundled backbone's frozen features serve other images.

Reads   the bundled backbone, the data sets that data/backbones/params.yaml names
Writes  data/backbones/<name>_transfer.csv
Params  pretrain.name and transfer, in data/backbones/params.yaml
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.pretraining import PretrainParams
from stages.pretraining.transfer_accuracy import (
    TransferParams,
    network_features,
    pixel_features,
    read_set,
    transfer_rows,
)

BACKBONES = Path("data/backbones")


def main() -> None:
    """Measure the bundled network, the same network with random weights, and grey pixels."""
    name = load_params("pretrain", PretrainParams, BACKBONES / "params.yaml").name
    params = load_params("transfer", TransferParams, BACKBONES / "params.yaml")
    bundled = find_weights(BackboneParams(name=name, weights="bundled", sha256=None, input_px=None), BACKBONES)
    px = bundled.preprocessing.crop_px
    random = find_weights(BackboneParams(name=name, weights="random", sha256=None, input_px=px), BACKBONES)
    networks = {"bundled": bundled, "random": replace(random, layers=bundled.layers, pooling=bundled.pooling)}
    rows = []
    for dataset, source in params.datasets.items():
        labelled = read_set(dataset, source, store_folder())
        for kind, weights in networks.items():
            rows += transfer_rows(labelled, kind, network_features(labelled, load_backbone(weights), px), params)
        rows += transfer_rows(labelled, "pixels", pixel_features(labelled), params)
    write_csv(pd.DataFrame(rows), BACKBONES / f"{name}_transfer.csv")


if __name__ == "__main__":
    run("transfer", main)
