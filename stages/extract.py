"""Stage 3 of 6, extract: turn images into features with a frozen, pretrained network.

Reads   data/images/, data/manifest.csv, the bundled backbone or the weights named
Writes  data/features.safetensors, reports/extract.json
Params  backbone, extract
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.graft.artifacts import write_json
from stages.graft.errors import run
from stages.graft.features import write_features
from stages.graft.manifest import manifest_paths, read_manifest
from stages.graft.params import Params, load_params
from stages.graft.places import store_folder
from stages.graft.store import FeatureStore
from stages.graft.weights import BackboneParams, find_weights

IMAGES, MANIFEST, BACKBONES = Path("data/images"), Path("data/manifest.csv"), Path("data/backbones")
FEATURES, REPORT = Path("data/features.safetensors"), Path("reports/extract.json")


class ExtractParams(Params):
    """The section `extract`."""

    batch_size: int = Field(ge=1, le=4096)
    """Images a batch; part of the fingerprint, since a row's bits depend on it."""
    device: Literal["auto", "cpu", "cuda"]
    """Where the network runs; auto takes a GPU when there is one."""


def main() -> None:
    """Extract the features of every image in the manifest."""
    backbone_params = load_params("backbone", BackboneParams)
    params = load_params("extract", ExtractParams)
    manifest = read_manifest(MANIFEST)
    weights = find_weights(backbone_params, BACKBONES)

    from stages.graft.backbone import choose_device, load_trunk  # torch: a second, spent after the checks
    from stages.graft.extraction import extract_missing, runtime_record

    device = choose_device(params.device)
    ids = manifest["id"].tolist()
    store = FeatureStore(store_folder(), runtime_record(weights, params.batch_size, device))
    num_extracted = extract_missing(
        ids,
        path_of=manifest_paths(manifest, IMAGES),
        load_trunk=lambda: load_trunk(weights),
        store=store,
        preprocessing=weights.preprocessing,
        batch_size=params.batch_size,
        device=device,
    )

    features = store.gather(ids)
    write_features(ids, features, weights.record(), FEATURES)
    num_features = features.shape[1]
    write_json({"num_images": len(ids), "num_features": num_features, "backbone": weights.record()}, REPORT)
    reused = len(ids) - num_extracted
    print(f"extract: {len(ids)} images, {num_extracted} extracted, {reused} reused, {num_features} features each")


if __name__ == "__main__":
    run("extract", main)
