"""Beside the pipeline, compare_backbones: short trainings under one budget, judged by what users get.

Reads   the images and data sets that data/backbones/params.yaml names
Writes  data/backbones/compare_backbones.csv
Params  pretrain, transfer and compare_backbones, in data/backbones/params.yaml
"""

import hashlib
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveFloat, PositiveInt

from stages.graft.backbone.network import NormalisedNetwork
from stages.graft.backbone.torchvision_networks import cut_output
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.data.decoded_arrays import PackedImages, packed_images
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.network_setup import MEAN, STD
from stages.pretraining.pretrain import PretrainParams, recipe_of
from stages.pretraining.pretraining import Recipe, TrainingImages, pretrain, print_epoch
from stages.pretraining.transfer import TransferParams, transfer_rows
from stages.pretraining.transfer_accuracy import Float32, LabelledSet, network_features, read_set

BACKBONES = Path("data/backbones")


class Trial(Params):
    """One architecture."""

    images_per_second: PositiveFloat
    """Its training rate; times the budget, the images it sees."""
    mixed_precision: bool
    """The faster of the two."""


class CompareBackbonesParams(Params):
    """The section `compare_backbones` of data/backbones/params.yaml."""

    budget_minutes: PositiveFloat
    """Of training, the same for each."""
    size_px: PositiveInt
    """Side of the training views, in pixels."""
    validation_px: PositiveInt
    """Side of the validation images, in pixels."""
    warmup: float
    """As in pretrain."""
    weight_decay: float
    """As in pretrain."""
    min_area: float
    """As in pretrain."""
    grey: float
    """As in pretrain."""
    trials: dict[str, Trial]
    """Architectures."""


def subset(packed: PackedImages, val: PackedImages, num_images: int) -> TrainingImages:
    """The images of a budget, drawn once; all of them when it suffices."""
    order = np.random.default_rng(0).permutation(len(packed.x))
    keep = np.sort(order[:num_images])
    x, y = packed.x[keep], packed.y[keep]
    digest = hashlib.sha256(x.data.cast("B"))
    digest.update(y.tobytes())
    return TrainingImages(train=(x, y), val=(val.x, val.y), num_classes=len(packed.classes), digest=digest.hexdigest())


def trial_recipe(name: str, trial: Trial, params: CompareBackbonesParams, base: Recipe, epochs: int) -> Recipe:
    """The recipe of pretrain, but for what the section sets."""
    return replace(
        base,
        architecture=name,
        epochs=epochs,
        sizes_px=(params.size_px,),
        validation_px=params.validation_px,
        warmup=params.warmup,
        weight_decay=params.weight_decay,
        augmentation=replace(base.augmentation, min_area=params.min_area, grey=params.grey),
        mixed_precision=trial.mixed_precision,
    )


def judge(name: str, network: torch.nn.Module, labelled: LabelledSet, input_px: int) -> tuple[Float32, float, float]:
    """Features of a data set, images a second on this CPU (decoded already), and megabytes in half precision."""
    megabytes = sum(parameter.numel() for parameter in network.parameters()) * 2 / 1e6
    preprocessing = Preprocessing(resize_px=input_px, crop_px=input_px, interpolation="bilinear", mean=MEAN, std=STD)
    backbone = NormalisedNetwork(cut_output(network), preprocessing).eval()
    start = time.perf_counter()
    x = network_features(labelled, backbone, input_px)
    return x, round(len(x) / (time.perf_counter() - start)), round(megabytes, 1)


def main() -> None:
    """Train every architecture under the budget and judge it by the first data set of transfer."""
    base = load_params("pretrain", PretrainParams, BACKBONES / "params.yaml")
    transfer = load_params("transfer", TransferParams, BACKBONES / "params.yaml")
    params = load_params("compare_backbones", CompareBackbonesParams, BACKBONES / "params.yaml")
    cache = store_folder() / "pretraining"
    labelled = read_set(*next(iter(transfer.datasets.items())), store_folder())
    rows: list[dict[str, object]] = []
    with (
        packed_images(base.source, base.image_px, cache) as train,
        packed_images(base.validation, base.image_px, cache) as val,
    ):
        for name, trial in params.trials.items():
            budget = round(trial.images_per_second * params.budget_minutes * 60)
            epochs = math.ceil(budget / len(train.x))
            recipe = trial_recipe(name, trial, params, recipe_of(base), epochs)
            network, records = pretrain(subset(train, val, budget // epochs), recipe, cache, print_epoch)
            x, rate, megabytes = judge(name, network, labelled, base.input_px)
            common = {"images_seen": budget, "source_top1": round(records[-1].val_accuracy, 4)}
            common |= {"extracted_per_second": rate, "megabytes": megabytes}
            rows += [row | common for row in transfer_rows(labelled, name, x, transfer)]
    write_csv(pd.DataFrame(rows), BACKBONES / "compare_backbones.csv")


if __name__ == "__main__":
    run("compare_backbones", main)
