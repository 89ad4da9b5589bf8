"""Features of images anywhere, without labels and without a run of the pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.backbone.precision_check import ImageSample, sample_images
from stages.graft.backbone.runtime_choice import ExtractParams, RuntimeChoice, as_extracted
from stages.graft.backbone.weights import BackboneParams, find_weights, fit_to_sizes
from stages.graft.compute.extractors import open_extractor
from stages.graft.compute.precision import check_engine
from stages.graft.compute.settings import load_compute
from stages.graft.core.errors import DataError
from stages.graft.core.params import load_params
from stages.graft.data.image_locations import ImageLocations, image_locations
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.ingestion import ingest_unlabelled
from stages.graft.data.open_source import open_source
from stages.graft.heads.features import read_features
from stages.graft.heads.head import Float32
from stages.graft.images.loading import LocateImage
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.model_runtime import extracted_choice
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.feature_store import FeatureStore

BACKBONES = Path("data/backbones")
IMAGES, MANIFEST, FEATURES = Path("data/images"), Path("data/manifest.csv"), Path("data/features.safetensors")


@dataclass(frozen=True, kw_only=True)
class UnlabelledImages:
    """Images with their features."""

    table: pd.DataFrame
    """Columns id and path, in order of id; n rows."""
    x: Float32
    """Features, shape (n, d)."""
    locate: LocateImage
    """Gives the location of an image."""
    backbone: dict[str, Any]
    """Record of the network."""
    preprocessing: Preprocessing
    """The network's."""


def _as_known(choice: RuntimeChoice) -> tuple[RuntimeChoice, ImageSample | None]:
    """Give int8 as it is calibrated for the pipeline's own features; without those, precision auto."""
    check_engine()
    if not FEATURES.exists():
        return as_extracted(choice, None), None
    return extracted_choice(choice, FEATURES, partial(image_locations, MANIFEST, IMAGES))


@contextmanager
def unlabelled_features(source: str, scratch: Path) -> Iterator[UnlabelledImages]:
    """Decode the images of a source and compute their features, through the store, as the stages do.

    Args:
        source: as `ingest.unlabelled`.
        scratch: an empty folder; images that are packed are copied there.
    Raises:
        DataError: there is no image, or too many are damaged.
    """
    params = load_params("ingest", IngestParams)
    with open_source(source, store_folder(), rules=params.rules_of_unlabelled) as opened:
        rows = ingest_unlabelled(opened, scratch / "images", params)
    if not rows:
        raise DataError(f"{source} holds no image")
    manifest = pd.DataFrame([{name: getattr(row, name) for name in row.__slots__} for row in rows])
    if not manifest["address"].any():
        manifest = manifest.drop(columns="address")
    locate = ImageLocations(manifest, scratch / "images")
    sizes = manifest["width"].to_numpy(), manifest["height"].to_numpy()
    choice = load_params("extract", ExtractParams)
    weights = find_weights(fit_to_sizes(load_params("backbone", BackboneParams), *sizes), BACKBONES, params.white_level)
    weights = replace(weights, views=choice.views)
    networks, ids = store_folder() / "networks", locate.ids
    used, sample = _as_known(choice) if choice.precision == "int8" else (choice, None)
    sample = sample or sample_images(ids, locate)
    with open_extractor(weights, used, networks, load_compute(), sample) as extractor:
        record = {**weights.to_record(), **extractor.record, "decoder": locate.decoder}
        store = FeatureStore(feature_store_location(), record)
        extractor.extract_missing(ids, locate, store)
    store.pack(ids, scratch / "features.safetensors", {"backbone": weights.to_record()})
    is_folder = Path(source).is_dir()
    path = [f"{source.rstrip('/')}/{file}" if is_folder else file for file in manifest["file"]]
    yield UnlabelledImages(
        table=pd.DataFrame({"id": manifest["id"], "path": path}),
        x=read_features(scratch / "features.safetensors")[1],
        locate=locate,
        backbone=dict(weights.to_record()),
        preprocessing=weights.preprocessing,
    )
