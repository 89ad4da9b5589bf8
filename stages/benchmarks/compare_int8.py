"""Beside the pipeline, compare_int8: what the features and a head's accuracy lose when a bundled network runs in int8.

Each network is calibrated on some of a set's images, as extraction does it, and the default head is fitted to its
features and to those in bf16, over the same splits.

Reads   the sources given, data/backbones/params.yaml (shares of validation and test), params.yaml
Writes  reports/int8.csv: a row for each set, network and number of training images
Run     python -m stages.benchmarks.compare_int8 NAME=SOURCE... (minutes; needs NNCF)
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.graft.backbone.precision_check import (
    INT8_LIMITS,
    ImageSample,
    agrees,
    calibration_images,
    cosines,
    sample_images,
)
from stages.graft.backbone.runtime import Precision
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import BUNDLED, BackboneParams, Weights, find_weights
from stages.graft.compute.int8_check import MAX_LOSS, head_accuracy
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.split_assignment import assign_splits
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.transfer_accuracy import (
    DatasetParams,
    Draws,
    LabelledSet,
    TransferParams,
    batch_features,
    read_set,
    score_splits,
)

TABLE, BACKBONES = Path("reports/int8.csv"), Path("data/backbones")

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")

SHOTS, NUM_SEEDS = (10, None), 5
"""Training images of each class, and splits."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Features of one network."""

    network: str
    """Its name."""
    x: Mapping[str, Float32]
    """Features of all images, shape (n, d), in each of PRECISIONS."""
    cosine: Mapping[str, float]
    """Mean and worst cosine of those in int8 to fp32, over the images that the precision is checked on."""


def main() -> None:
    """Compare the precisions of every bundled network on every set given."""
    params = load_params("transfer", TransferParams, BACKBONES / "params.yaml")
    rows = list[dict[str, object]]()
    with temporary_folder(store_folder(), "int8") as folder:
        for name, _, source in (argument.partition("=") for argument in sys.argv[1:]):
            labelled = read_set(name, source, folder)
            for network in params.networks:
                backbone = BackboneParams(name=network, weights=BUNDLED, sha256=None, input_px=None, fit=params.fit)
                compared = compare(labelled, find_weights(backbone, BACKBONES), folder)
                rows += compared_rows(labelled, compared, params.datasets[name])
    write_csv(pd.DataFrame(rows), TABLE)


def compare(labelled: LabelledSet, weights: Weights, folder: Path) -> Compared:
    """Compute the features of all images in each precision."""
    calibration, ids = sample_of(labelled, folder), labelled.table["id"].to_list()

    def features(precision: Precision) -> Float32:
        choice = AUTOMATIC.model_copy(update={"precision": precision})
        runtime = choose_runtime(weights, choice, store_folder() / "networks", calibration)
        return batch_features(labelled, weights.preprocessing, runtime.load(), int(runtime.record["batch_size"]))

    x: dict[str, Float32] = {name: features(name) for name in PRECISIONS}
    rows = np.searchsorted(np.array(ids), sample_images(ids, Path).ids)
    return Compared(network=weights.name, x=x, cosine=cosines(x["int8"][rows], x["fp32"][rows]))


def sample_of(labelled: LabelledSet, folder: Path) -> ImageSample:
    """Write the images that int8 is calibrated on as files."""
    files = dict(zip(labelled.table["id"], labelled.files, strict=True))
    sample = calibration_images([*files], lambda id_: folder / id_, [])
    for id_ in sample.ids:
        (folder / id_).write_bytes(files[id_])
    return sample


def compared_rows(labelled: LabelledSet, compared: Compared, dataset: DatasetParams) -> Iterator[dict[str, object]]:
    """Compare the accuracy of the default head on test images, over splits; differences to bf16 are in points.

    The last columns say what the check of `extract` finds on training and validation images of the first split.
    """
    head_params = load_params("train_head", TrainHeadParams)
    for shots in SHOTS:
        draws = Draws(shots, NUM_SEEDS, dataset)
        accuracy = {name: score_splits(labelled, x, draws, head_params)[:, 0] for name, x in compared.x.items()}
        points = {name: 100 * (accuracy[name] - accuracy["bf16"]) for name in ("fp32", "int8")}
        row: dict[str, object] = {
            "set": labelled.name,
            "network": compared.network,
            "train_per_class": str(shots or "all"),
            **{name: round(float(found.mean()), 4) for name, found in accuracy.items()},
            **{f"{name}_difference": round(float(found.mean()), 2) for name, found in points.items()},
            **{f"{name}_std": round(float(found.std(ddof=1)), 2) for name, found in points.items()},
            "seeds": NUM_SEEDS,
            **check_record(labelled.table, compared, draws),
        }
        print("compare_int8: " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        yield row


def check_record(table: pd.DataFrame, compared: Compared, draws: Draws) -> dict[str, object]:
    """Check int8 as `extract` does, on the first split: would it be used?"""
    sides = assign_splits(table, 0, draws.dataset.val_fraction, draws.dataset.test_fraction, draws.shots)
    known = sides.isin(["train", "val"]).to_numpy()
    classes = tuple(sorted(set(table["label"])))
    y = np.searchsorted(np.array(classes), table["label"][known].to_numpy(dtype=str)).astype(np.int64)
    images = FeatureSet(
        ids=tuple(table["id"][known]), x=np.zeros((len(y), 0), np.float32), y=y, classes=classes, groups=("",) * len(y)
    )
    found = {name: head_accuracy(images, compared.x[name][known]) for name in ("bf16", "int8")}
    return {
        "cosine_mean": round(compared.cosine["mean"], 4),
        "cosine_worst": round(compared.cosine["worst"], 4),
        **{f"checked_{name}": round(share, 4) for name, share in found.items()},
        "used": agrees(compared.cosine, INT8_LIMITS) and found["int8"] >= found["bf16"] - MAX_LOSS,
    }


if __name__ == "__main__":
    run("compare_int8", main, again="python -m stages.benchmarks.compare_int8")
