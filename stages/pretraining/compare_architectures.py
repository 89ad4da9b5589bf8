"""Beside the pipeline, compare_architectures: short trainings under one budget, judged by what users get.

Reads   the images and data sets that data/backbones/params.yaml names
Writes  data/backbones/compare_architectures.csv
Params  pretrain, transfer and compare_architectures, in data/backbones/params.yaml
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveFloat, PositiveInt

from stages.graft.backbone.network import NormalisedNetwork, run_batch
from stages.graft.backbone.torchvision_networks import cut_output
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.data.decoded_arrays import DecodedImages, decoded_images
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.decode import Batch
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.network_setup import square_preprocessing
from stages.pretraining.pretraining import PretrainParams, pretrain
from stages.pretraining.transfer_accuracy import (
    LabelledSet,
    Measured,
    TransferParams,
    batch_features,
    read_set,
    transfer_rows,
)

BACKBONES = Path("data/backbones")

BATCH_SIZE = 32


class Trial(Params):
    """One architecture."""

    images_per_second: PositiveFloat
    """Its training rate; times the budget, the images it sees."""
    mixed_precision: bool
    """The faster of the two."""


class CompareArchitecturesParams(Params):
    """The section `compare_architectures` of data/backbones/params.yaml."""

    budget_minutes: PositiveFloat
    """Of training, the same for each."""
    size_px: PositiveInt
    """Side of the training views, in pixels."""
    validation_px: PositiveInt
    """Side of the validation images, in pixels."""
    warmup: float
    """As in pretrain, like the next three."""
    weight_decay: float
    min_area: float
    grey: float
    trials: dict[str, Trial]
    """Architectures."""


def subset(images: DecodedImages, num_images: int) -> DecodedImages:
    """Draw the images of a budget; all of them when it suffices."""
    rows = np.sort(np.random.default_rng(0).permutation(len(images.x))[:num_images])
    return replace(images, x=images.x[rows], y=images.y[rows])


def trial_params(name: str, params: CompareArchitecturesParams, base: PretrainParams, epochs: int) -> PretrainParams:
    """Return the parameters of pretrain with those that the section sets."""
    shared = params.model_dump(include={"validation_px", "warmup", "weight_decay", "min_area", "grey"})
    own = {"name": name, "epochs": epochs, "sizes_px": (params.size_px,)}
    return base.model_copy(update=shared | own | {"mixed_precision": params.trials[name].mixed_precision})


def judge(network: torch.nn.Module, labelled: LabelledSet, px: int) -> tuple[Float32, dict[str, object]]:
    """Return features of a data set, and images a second on this CPU (decoded already) and MB in half precision."""
    backbone = NormalisedNetwork(cut_output(network), square_preprocessing(px)).eval()

    def compute(batch: Batch) -> Float32:
        return run_batch(backbone, batch, BATCH_SIZE, torch.device("cpu"))

    megabytes = sum(parameter.numel() for parameter in network.parameters()) * 2 / 1e6
    start = time.perf_counter()
    x = batch_features(labelled, square_preprocessing(px), compute, BATCH_SIZE)
    rate = len(x) / (time.perf_counter() - start)
    return x, {"extracted_per_second": round(rate), "megabytes": round(megabytes, 1)}


def main() -> None:
    """Train every architecture under the budget and judge it by the first data set of transfer."""
    base = load_params("pretrain", PretrainParams, BACKBONES / "params.yaml")
    transfer = load_params("transfer", TransferParams, BACKBONES / "params.yaml")
    params = load_params("compare_architectures", CompareArchitecturesParams, BACKBONES / "params.yaml")
    cache = store_folder() / "pretraining"
    name, dataset = next(iter(transfer.datasets.items()))
    labelled, head_params = read_set(name, dataset.source, store_folder()), load_params("train_head", TrainHeadParams)
    rows: list[dict[str, object]] = []
    with (
        decoded_images(base.source, base.image_px, cache) as train,
        decoded_images(base.validation, base.image_px, cache) as val,
    ):
        for name, trial in params.trials.items():
            budget = round(trial.images_per_second * params.budget_minutes * 60)
            epochs = math.ceil(budget / len(train.x))
            trained = trial_params(name, params, base, epochs)
            network, records = pretrain(subset(train, budget // epochs), val, trained, cache)
            seen = {"images_seen": budget, "source_top1": round(records[-1].val_accuracy, 4)}
            x, measured = judge(network, labelled, base.input_px)
            trial_features = Measured(network=name, weights="trial", views=1, heads=["logistic"], x=x)
            found = transfer_rows(labelled, trial_features, transfer, dataset, head_params)
            rows += [row | seen | measured for row in found]
    write_csv(pd.DataFrame(rows), BACKBONES / "compare_architectures.csv")


if __name__ == "__main__":
    run("compare_architectures", main)
