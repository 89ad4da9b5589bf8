"""Stage 3 of 8, extract: turn images into features with a frozen, pretrained network.

Reads   data/images/, data/manifest.csv, the bundled backbone or the weights named
Writes  data/features.safetensors, data/strangers/, reports/extract.json
Params  backbone, extract
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from stages.graft.backbone.extraction import Images
from stages.graft.backbone.runtime_choice import RuntimeChoice
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.compute.extractors import open_extractor
from stages.graft.compute.settings import load_compute
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_locations import image_locations
from stages.graft.data.synthetic.strangers import stranger_path, write_strangers
from stages.graft.images.crop import DECODER
from stages.graft.images.loading import LocateImage
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.files import write_json

IMAGES, MANIFEST, BACKBONES = Path("data/images"), Path("data/manifest.csv"), Path("data/backbones")
FEATURES, REPORT = Path("data/features.safetensors"), Path("reports/extract.json")
STRANGERS = Path("data/strangers")


def wanted(ids: Sequence[str], path_of: LocateImage, drawing: Future[list[str]]) -> Iterator[Images]:
    """The images, then the strangers: images of nothing the model is made for; evaluate sees whether it says so."""
    yield ids, path_of
    yield drawing.result(), partial(stranger_path, STRANGERS)


def main() -> None:
    """Extract the features of every image in the manifest."""
    backbone_params = load_params("backbone", BackboneParams)
    choice = load_params("extract", RuntimeChoice)
    weights = find_weights(backbone_params, BACKBONES)

    path_of = image_locations(MANIFEST, IMAGES)
    ids = path_of.ids
    with (
        ThreadPoolExecutor(1) as beside,
        open_extractor(weights, choice, store_folder() / "networks", load_compute()) as engine,
    ):
        drawing = beside.submit(write_strangers, STRANGERS)
        store = FeatureStore(feature_store_location(), {**weights.to_record(), **engine.record, "decoder": DECODER})
        num_extracted, _ = engine.extract_missing(wanted(ids, path_of, drawing), store)
    strangers = drawing.result()
    num_features = store.pack(ids, FEATURES, {"backbone": weights.to_record()})
    store.pack(strangers, STRANGERS / "features.safetensors", {"backbone": weights.to_record()})

    record = {"num_images": len(ids), "num_features": num_features, "backbone": weights.to_record()}
    write_json(record | {"runtime": dict(engine.record)}, REPORT)
    reused = len(ids) - num_extracted
    print(f"extract: {len(ids)} images, {num_extracted} extracted, {reused} reused, {num_features} features each")


if __name__ == "__main__":
    run_stage("extract", main)
