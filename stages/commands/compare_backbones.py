"""graft compare-backbones: which network suits these images, by cross-validation; test images are not looked at.

Reads   data/images/, data/splits.csv, the networks' weights; features through the store
Writes  reports/compare_backbones.csv, reports/compare_backbones.png, MLflow runs: one for each network, below one
Params  ingest.white_level, backbone, extract, train_head, compute, tracking
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from stages.graft.backbone.available import NetworkName, find_available, parse_network
from stages.graft.backbone.extraction import rows_of
from stages.graft.backbone.precision_check import sample_images
from stages.graft.backbone.runtime_choice import ExtractParams, RuntimeChoice, as_extracted, choose_runtime
from stages.graft.backbone.weights import BackboneParams, Weights, find_weights, fit_to_sizes
from stages.graft.compute.extractors import open_extractor
from stages.graft.compute.settings import load_compute
from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.params import load_params
from stages.graft.core.progress import Progress
from stages.graft.data.image_locations import ImageLocations, image_locations
from stages.graft.data.splits import COLUMNS, read_splits
from stages.graft.evaluation.network_comparison import (
    MAX_IMAGES,
    NUM_FOLDS,
    ScoredNetwork,
    choose_network,
    compare_networks,
    cross_validate_default_head,
)
from stages.graft.heads.features import FeatureSet, read_features
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.white_level import WhiteLevelParams
from stages.graft.metrics.sampling import stratified_rows
from stages.graft.report.figure_style import save_png, style
from stages.graft.report.network_figures import draw_networks
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.tables import write_csv
from stages.graft.tracking.publish import publish_comparison

IMAGES, SPLITS, BACKBONES = Path("data/images"), Path("data/splits.csv"), Path("data/backbones")
TABLE, FIGURE = Path("reports/compare_backbones.csv"), Path("reports/compare_backbones.png")

NUM_TIMED = 64
"""Images whose time is measured, after a first batch that is not."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What all networks have in common."""

    ids: Sequence[str]
    """Images to compare on."""
    locate: ImageLocations
    """Gives the location of an image's file."""
    choice: RuntimeChoice
    """The section `extract`, without int8, which is calibrated for one network."""


def compare_backbones(names: Sequence[str]) -> None:
    """Compare networks and say what to set in params.yaml; without names, all that need no connection.

    Raises:
        DataError: there are no splits yet.
        ParamsError, WeightsError: a network is unknown, or its weights cannot be had.
    """
    images = read_images()
    found = [parse_network(name, BACKBONES) for name in names] or find_available(BACKBONES)
    networks = [(network, weights_of(network)) for network in dict.fromkeys(found)]  # errors before hours of work
    if len(networks) < 2:
        raise ParamsError(f"two networks are needed for a comparison, got {', '.join(map(str, found)) or 'none'}")
    table = compare_networks(
        score_networks(networks, images),
        {id_: group or id_ for id_, group in zip(images.ids, images.groups, strict=True)},
    )
    write_csv(table, TABLE)
    with style():
        save_png(draw_networks(table), FIGURE)
    publish_comparison(table, [TABLE, FIGURE])
    print("\n".join(f"compare-backbones: {line}" for line in format_table(table)))


def read_images() -> FeatureSet:
    """Read the images of training and validation, at most MAX_IMAGES, without features yet."""
    if not SPLITS.exists():
        raise DataError(f"{SPLITS} does not exist: run `dvc repro split` first")
    table = read_splits(SPLITS, (*COLUMNS, "group"))
    table = table[table["split"].isin(["train", "val"])]
    classes = tuple(sorted(table["label"].unique()))
    y = np.searchsorted(np.array(classes), table["label"].to_numpy(dtype=str)).astype(np.int64)
    rows = stratified_rows(y, MAX_IMAGES)
    table, y = table.iloc[rows], y[rows]
    nothing = np.zeros((len(y), 0), np.float32)
    return FeatureSet(ids=tuple(table["id"]), x=nothing, y=y, classes=classes, groups=tuple(table["group"]))


def weights_of(network: NetworkName) -> Weights:
    """Find a network's weights; where it is that of params.yaml, with its layers, pooling and size.

    The fit, the white level and the views are those of params.yaml for every network.
    """
    params, white_level = load_params("backbone", BackboneParams), load_params("ingest", WhiteLevelParams).white_level
    sizes = read_splits(SPLITS, ("id", "split", "width", "height"))
    params = fit_to_sizes(params, sizes["width"].to_numpy(), sizes["height"].to_numpy())
    if (network.name, network.weights) != (params.name, params.weights):
        own = {"name": network.name, "weights": network.weights}
        params = params.model_copy(update=own | dict.fromkeys(("sha256", "input_px", "layer", "pooling")))
    return replace(find_weights(params, BACKBONES, white_level), views=load_params("extract", ExtractParams).views)


def score_networks(networks: Sequence[tuple[NetworkName, Weights]], images: FeatureSet) -> list[ScoredNetwork]:
    """Extract the features of every network, fit the default head to parts of the images, and score the others."""
    choice = as_extracted(load_params("extract", ExtractParams), None)
    extraction = Extraction(ids=images.ids, locate=image_locations(SPLITS, IMAGES), choice=choice)
    params, scored = load_params("train_head", TrainHeadParams), []
    features = [extract(weights, extraction) for _, weights in networks]
    with Progress(len(networks) * NUM_FOLDS, desc="compare-backbones", unit="fits") as progress:
        for (network, weights), x in zip(networks, features, strict=True):
            progress.note(str(network))
            held_out = cross_validate_default_head(with_features(images, x), params, progress.advance)
            scored.append(
                ScoredNetwork(
                    name=network.name,
                    weights=network.weights,
                    held_out=held_out,
                    seconds_per_1000=measure_seconds(weights, extraction),
                    num_features=x.shape[1],
                )
            )
    return scored


def extract(weights: Weights, extraction: Extraction) -> Float32:
    """Give the features of all images, shape (n, d), by the store as far as it has them."""
    ids, locate, sample = extraction.ids, extraction.locate, sample_images(extraction.ids, extraction.locate)
    networks = store_folder() / "networks"
    with open_extractor(weights, extraction.choice, networks, load_compute(), sample) as extractor:
        record = {**weights.to_record(), **extractor.record, "decoder": extraction.locate.decoder}
        store = FeatureStore(feature_store_location(), record)
        extractor.extract_missing(ids, locate, store)
    with TemporaryDirectory(prefix="graft-") as folder:
        store.pack(ids, Path(folder) / "features.safetensors", {})
        return read_features(Path(folder) / "features.safetensors")[1]


def with_features(images: FeatureSet, x: Float32) -> FeatureSet:
    """Give the images their features."""
    return FeatureSet(ids=images.ids, x=x, y=images.y, classes=images.classes, groups=images.groups)


def measure_seconds(weights: Weights, extraction: Extraction) -> float:
    """Measure the seconds in which this machine decodes and embeds 1,000 images."""
    sample = sample_images(extraction.ids, extraction.locate)
    runtime = choose_runtime(weights, extraction.choice, store_folder() / "networks", sample)
    timed = extraction.ids[:NUM_TIMED]
    list(rows_of(timed[:1], extraction.locate, weights.preprocessing, runtime))
    start = time.perf_counter()
    list(rows_of(timed, extraction.locate, weights.preprocessing, runtime))
    return round(1000 * (time.perf_counter() - start) / len(timed), 2)


def format_table(table: pd.DataFrame) -> list[str]:
    """Describe the comparison in lines: the networks, what is beyond chance, and what to set."""
    width = max(len(f"{name} {weights}") for name, weights in zip(table["network"], table["weights"], strict=True))
    lines = [f"{int(table['num_images'].iloc[0])} training and validation images, {NUM_FOLDS}-fold; test is not used"]
    for _, row in table.iterrows():
        verdict = "" if row["could_be_best"] else f"  worse than the best, p = {row['p_value']:.2g}"
        lines.append(
            f"{row['network'] + ' ' + row['weights']:{width}}  {row['accuracy']:6.1%} ({row['accuracy_low']:.1%} to "
            f"{row['accuracy_high']:.1%})  {row['seconds_per_1000']:7.1f} s for 1,000 images{verdict}"
        )
    chosen, num_best = choose_network(table), int(table["could_be_best"].sum())
    reason = "it is the best beyond chance" if num_best == 1 else f"{num_best} of {len(table)} could be the best"
    if chosen["network"] != table["network"].iloc[0]:
        reason += ", and this one takes at most half the time of the first"
    lines.append(
        f"set `backbone.name: {chosen['network']}` and `backbone.weights: {chosen['weights']}` in params.yaml: {reason}"
    )
    return lines
