"""Beside the pipeline, compare_inputs: what the bundled network should be shown of an image.

Squash, pad and crop, and one view or four, with the pipeline's own extraction and head, on the same splits.

Reads   the bundled backbone, the data sets that data/backbones/params.yaml names; strips are generated
Writes  data/backbones/<name>_inputs.csv
Params  compare_inputs, in data/backbones/params.yaml; train_head
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import PositiveInt

from stages.graft.backbone.extraction import extract_missing
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import BackboneParams, Weights, find_weights
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.data.decoded_arrays import labelled_candidates
from stages.graft.data.open_source import open_source
from stages.graft.heads.features import read_features
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.crop import DECODER
from stages.graft.images.preprocessing import Fit
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.strips import write_strips
from stages.pretraining.transfer_accuracy import DatasetParams, Draws, LabelledSet, score_splits

BACKBONES, STRIPS = Path("data/backbones"), "strips"

TEST_FRACTION = 0.15
"""Share of the strips for the test."""


class Shown(Params):
    """What the network is shown of an image."""

    fit: Fit
    """As in `backbone.fit`."""
    views: int
    """As in `extract.views`."""


class CompareInputsParams(Params):
    """The section `compare_inputs` of data/backbones/params.yaml."""

    network: str
    """Name of the bundled network."""
    datasets: dict[str, DatasetParams]
    """By name, as in the section `transfer`."""
    shots: tuple[PositiveInt | None, ...]
    """Training images per class; null for all."""
    num_seeds: PositiveInt
    """Split seeds 0, 1, …"""
    variants: tuple[Shown, ...]
    """What is compared with the first of them."""


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """A data set as files on this machine."""

    labelled: LabelledSet
    """Name, labels and splits; without the files' bytes."""
    paths: dict[str, Path]
    """The image files by id, in the order of the labels."""


def main() -> None:
    """Measure every variant on every data set, and on generated strips."""
    params = load_params("compare_inputs", CompareInputsParams, BACKBONES / "params.yaml")
    backbone = BackboneParams(name=params.network, weights="bundled", sha256=None, input_px=None)
    weights, rows = find_weights(backbone, BACKBONES), list[dict[str, object]]()
    with temporary_folder(store_folder(), "inputs") as folder:
        write_strips(folder / STRIPS)
        strips = DatasetParams(source=str(folder / STRIPS), test_fraction=TEST_FRACTION)
        for name, dataset in {**params.datasets, STRIPS: strips}.items():
            files = read_files(name, dataset.source, folder / name)
            for row in compare(files, weights, params, dataset.test_fraction):
                rows.append(row)
                print(f"compare_inputs: {row}", flush=True)
    write_csv(pd.DataFrame(rows), BACKBONES / f"{params.network}_inputs.csv")


def read_files(name: str, source: str, folder: Path) -> ImageFiles:
    """Copy the images of a source to a folder, each once."""
    folder.mkdir(exist_ok=True)
    rows, paths = dict[str, tuple[str, ...]](), dict[str, Path]()
    with open_source(source, folder) as opened:
        for candidate in labelled_candidates(opened):
            data = candidate.read()
            id_ = sha256(data).hexdigest()
            paths[id_] = folder / id_
            paths[id_].write_bytes(data)
            rows[id_] = (id_, candidate.label, candidate.group, candidate.split)
    table = pd.DataFrame([rows[id_] for id_ in sorted(rows)], columns=["id", "label", "group", "split"])
    labelled = LabelledSet(name=name, table=table, files=[])
    return ImageFiles(labelled=labelled, paths={id_: paths[id_] for id_ in sorted(paths)})


def compare(
    files: ImageFiles, weights: Weights, params: CompareInputsParams, test_fraction: float
) -> Iterator[dict[str, object]]:
    """Score every variant for each number of training images; `gain` is against the first variant, seed by seed."""
    first, head_params = dict[int | None, npt.NDArray[np.float64]](), load_params("train_head", TrainHeadParams)
    for shown in params.variants:
        preprocessing = replace(weights.preprocessing, fit=shown.fit)
        x = features(files, replace(weights, preprocessing=preprocessing, views=shown.views))
        for shots in params.shots:
            draws = Draws(shots, params.num_seeds, test_fraction)
            accuracy = score_splits(files.labelled, x, draws, head_params)[:, 0]
            gains = accuracy - first.setdefault(shots, accuracy)
            yield {
                "dataset": files.labelled.name,
                "fit": shown.fit,
                "views": shown.views,
                "train_per_class": str(shots or "all"),
                "accuracy": round(float(accuracy.mean()), 4),
                "gain": round(float(gains.mean()), 4),
                "gain_error": standard_error(gains),
                "seeds": params.num_seeds,
            }


def features(files: ImageFiles, weights: Weights) -> Float32:
    """Extract features of all images through the store, shape (n, d), float32."""
    runtime, ids = choose_runtime(weights, AUTOMATIC, store_folder() / "networks"), list(files.paths)
    store = FeatureStore(feature_store_location(), {**weights.to_record(), **runtime.record, "decoder": DECODER})
    extract_missing(ids, files.paths.__getitem__, store, weights.preprocessing, runtime)
    with temporary_folder(store_folder(), "packed") as folder:
        store.pack(ids, folder / "features.safetensors", {})
        return np.array(read_features(folder / "features.safetensors")[1])


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Give the standard error of a mean; 0 for one value."""
    return round(float(np.std(values, ddof=1) / len(values) ** 0.5), 4) if len(values) > 1 else 0.0


if __name__ == "__main__":
    run("compare_inputs", main)
