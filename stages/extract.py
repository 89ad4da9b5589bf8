"""Stage 3 of 8, extract: turn images into features with a frozen, pretrained network.

Reads   data/images/, data/manifest.csv, the bundled backbone or the weights named
Writes  data/features.safetensors, data/strangers/, reports/extract.json
Params  backbone, extract
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from stages.graft.artifacts import write_json
from stages.graft.compute import load_compute
from stages.graft.durations import timed
from stages.graft.errors import run
from stages.graft.extraction import Images
from stages.graft.extractors import extractor
from stages.graft.manifest import PLACE_COLUMNS, manifest_paths, read_manifest
from stages.graft.params import load_params
from stages.graft.places import feature_store, store_folder
from stages.graft.reading import PathOf
from stages.graft.runtime_choice import RuntimeChoice
from stages.graft.squares import DECODER
from stages.graft.store import FeatureStore
from stages.graft.strangers import stranger_path, write_strangers
from stages.graft.weights import BackboneParams, find_weights

IMAGES, MANIFEST, BACKBONES = Path("data/images"), Path("data/manifest.csv"), Path("data/backbones")
FEATURES, REPORT = Path("data/features.safetensors"), Path("reports/extract.json")
STRANGERS = Path("data/strangers")


def wanted(ids: Sequence[str], path_of: PathOf, drawing: Future[list[str]]) -> Iterator[Images]:
    """The images, then the strangers: images of nothing the model is made for; evaluate sees whether it says so."""
    yield ids, path_of
    yield drawing.result(), partial(stranger_path, STRANGERS)


def main() -> None:
    """Extract the features of every image in the manifest."""
    backbone_params = load_params("backbone", BackboneParams)
    choice = load_params("extract", RuntimeChoice)
    manifest = read_manifest(MANIFEST, columns=PLACE_COLUMNS)
    weights = find_weights(backbone_params, BACKBONES)

    path_of = manifest_paths(manifest, IMAGES)
    ids = path_of.ids
    del manifest  # packed, that is enough
    with (
        ThreadPoolExecutor(1) as beside,
        extractor(weights, choice, store_folder() / "networks", load_compute()) as engine,
    ):
        drawing = beside.submit(write_strangers, STRANGERS)
        store = FeatureStore(feature_store(), {**weights.record(), **engine.record, "decoder": DECODER})
        num_extracted, _ = engine.extract_missing(wanted(ids, path_of, drawing), store)
    strangers = drawing.result()
    num_features = store.pack(ids, FEATURES, {"backbone": weights.record()})
    store.pack(strangers, STRANGERS / "features.safetensors", {"backbone": weights.record()})

    record = {"num_images": len(ids), "num_features": num_features, "backbone": weights.record()}
    write_json(record | {"runtime": dict(engine.record)}, REPORT)
    reused = len(ids) - num_extracted
    print(f"extract: {len(ids)} images, {num_extracted} extracted, {reused} reused, {num_features} features each")


if __name__ == "__main__":
    run("extract", timed("extract", main))
