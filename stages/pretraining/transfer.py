"""Beside the pipeline, transfer: what the frozen features of the bundled networks are worth on few images.

Reads   the bundled networks, the data sets that data/backbones/params.yaml names
Writes  reports/few_shot.csv, and of each network data/backbones/<name>_transfer.csv
Params  transfer, in data/backbones/params.yaml; train_head
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from stages.graft.backbone.weights import BUNDLED, RANDOM, BackboneParams, find_weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.transfer_accuracy import (
    LabelledSet,
    Measured,
    TransferParams,
    network_features,
    pixel_features,
    read_set,
    transfer_rows,
)

BACKBONES, TABLE = Path("data/backbones"), Path("reports/few_shot.csv")

PIXELS = "pixels"


def main() -> None:
    """Measure every network, the same networks with random weights, and grey pixels, on every data set."""
    params = load_params("transfer", TransferParams, BACKBONES / "params.yaml")
    head_params, rows = load_params("train_head", TrainHeadParams), list[dict[str, object]]()
    for name, dataset in params.datasets.items():
        labelled = read_set(name, dataset.source, store_folder())
        for measured in all_features(labelled, params):
            rows += transfer_rows(labelled, measured, params, dataset, head_params)
    table = pd.DataFrame(rows)
    write_csv(table, TABLE)
    for network in params.networks:
        write_csv(table[table["network"].isin([network, PIXELS])], BACKBONES / f"{network}_transfer.csv")


def all_features(labelled: LabelledSet, params: TransferParams) -> Iterator[Measured]:
    """Compute the features of a data set by every network: bundled, for each number of views, and random; and pixels.

    All heads are fitted to one view of the bundled networks, elsewhere the first kind alone.
    """
    default = params.heads[:1]
    for network in params.networks:
        backbone = BackboneParams(name=network, weights=BUNDLED, sha256=None, input_px=None, fit=params.fit)
        bundled = find_weights(backbone, BACKBONES)
        for views in params.views:
            x = network_features(labelled, replace(bundled, views=views))
            heads = params.heads if views == 1 else default
            yield Measured(network=network, weights=BUNDLED, views=views, heads=heads, x=x)
        untrained = replace(bundled, weights=RANDOM, sha256=None, path=None)
        x = network_features(labelled, untrained)
        yield Measured(network=network, weights=RANDOM, views=1, heads=default, x=x)
    yield Measured(network=PIXELS, weights="", views=1, heads=default, x=pixel_features(labelled))


if __name__ == "__main__":
    run("transfer", main)
