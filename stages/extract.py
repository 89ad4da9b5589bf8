"""Stage 4 of 10, extract: turn images into features with a frozen, pretrained network.

Reads   data/images/, data/manifest.csv, data/unlabelled.csv, the bundled backbone or the weights named; for int8 also
        data/splits.csv, and the images that its own last report says int8 was calibrated on
Writes  data/features.safetensors, data/unlabelled.safetensors, reports/extract.json
Params  backbone, extract, ingest.white_level
"""

import time
from dataclasses import replace
from pathlib import Path

from stages.graft.backbone.extraction import format_extraction
from stages.graft.backbone.runtime_choice import ExtractParams
from stages.graft.backbone.weights import BackboneParams, find_weights, fit_to_sizes
from stages.graft.compute.extractors import open_extractor
from stages.graft.compute.precision import settle_precision
from stages.graft.compute.settings import load_compute
from stages.graft.compute.unlabelled import pack_unlabelled
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_locations import LOCATION_COLUMNS, ImageLocations
from stages.graft.data.manifest import read_manifest
from stages.graft.images.preprocessing import LEAST_SEEN, MIN_CROPPED, Lengths, Preprocessing, middle_share, seen_share
from stages.graft.images.white_level import WhiteLevelParams
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.files import write_json

IMAGES, MANIFEST, BACKBONES = Path("data/images"), Path("data/manifest.csv"), Path("data/backbones")
SPLITS = Path("data/splits.csv")
UNLABELLED, UNLABELLED_FEATURES = Path("data/unlabelled.csv"), Path("data/unlabelled.safetensors")
FEATURES, REPORT = Path("data/features.safetensors"), Path("reports/extract.json")
NUM_DIGITS = 4
"""Digits after the point of the share that the network sees."""


def main() -> None:
    """Compute the features of every image in the manifest."""
    params, networks = load_params("extract", ExtractParams), store_folder() / "networks"
    white_level = load_params("ingest", WhiteLevelParams).white_level
    manifest = read_manifest(MANIFEST, (*LOCATION_COLUMNS, "width", "height"))
    sizes = manifest["width"].to_numpy(), manifest["height"].to_numpy()
    backbone_params = fit_to_sizes(load_params("backbone", BackboneParams), *sizes)
    weights = replace(find_weights(backbone_params, BACKBONES, white_level), views=params.views)
    backbone, locate = weights.to_record(), ImageLocations(manifest, IMAGES)
    ids, compute = locate.ids, load_compute()
    settled = settle_precision(weights, params, locate, SPLITS, REPORT)
    with open_extractor(weights, settled.choice, networks, compute, settled.sample) as extractor:
        store = FeatureStore(feature_store_location(), {**backbone, **extractor.record, "decoder": locate.decoder})
        start = time.monotonic()
        num_new = extractor.extract_missing(ids, locate, store)
        seconds = time.monotonic() - start
        origin = {"backbone": backbone, "precision": extractor.record["precision"], **settled.features_record()}
        num_unlabelled = pack_unlabelled(extractor, UNLABELLED, IMAGES, origin, UNLABELLED_FEATURES)
    num_features = store.pack(ids, FEATURES, origin)
    report = {
        "num_images": len(ids),
        "num_unlabelled": num_unlabelled,
        "num_features": num_features,
        "seen_share": share_seen(weights.preprocessing, *sizes),
    }
    write_json(report | {"backbone": backbone, "runtime": dict(extractor.record), **settled.report_record()}, REPORT)
    print(f"extract: {format_extraction(len(ids), num_new, seconds)}")


def share_seen(p: Preprocessing, widths: Lengths, heights: Lengths) -> float:
    """Give the share of the images' pixels that the network sees, and tell the user when a crop hides many."""
    seen = seen_share(p, widths, heights)
    if seen < LEAST_SEEN:
        print(
            f"extract: the network sees the middle {seen:.0%} of these images' pixels on average; "
            "`backbone.fit: squash` shows it all"
        )
    elif (middle := middle_share(widths, heights)) < MIN_CROPPED:
        print(f"extract: the images are made square as a whole; a crop would show {middle:.0%} of them on average")
    return round(seen, NUM_DIGITS)


if __name__ == "__main__":
    run_stage("extract", main)
