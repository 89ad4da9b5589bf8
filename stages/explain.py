"""Stage 8 of 10, explain: find what turns the network's maps into heat maps, and whether these can be trusted.

Reads   data/model/, data/baselines.csv, data/images/; features from the store, which it computes where they are missing
Writes  data/evidence/, reports/explain.json
Params  explain, backbone.offline, extract
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.graft.backbone.extraction import extract_missing
from stages.graft.backbone.precision_check import sample_images
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import OfflineParams, Weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_locations import ImageLocations, image_locations
from stages.graft.data.splits import read_splits
from stages.graft.evaluation.explain_params import ExplainParams
from stages.graft.evaluation.explanation import MappedModel, explain_model, explanation_record, format_explanation
from stages.graft.heads.features import read_features
from stages.graft.heads.head import HEAD
from stages.graft.model.heat_map import save_evidence
from stages.graft.model.model_folder import model_weights, read_model
from stages.graft.model.model_runtime import extracted_choice
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.feature_store import Features, FeatureStore
from stages.graft.storage.files import atomic_path, write_json

IMAGES, IMAGES_TABLE = Path("data/images"), Path("data/baselines.csv")
MODEL, BACKBONES, EVIDENCE = Path("data/model"), Path("data/backbones"), Path("data/evidence")
REPORT = Path("reports/explain.json")


def main() -> None:
    """Fit the evidence to training images, and measure its heat maps on validation images; test is not looked at."""
    params, offline = load_params("explain", ExplainParams), load_params("backbone", OfflineParams).offline
    model, head = read_model(MODEL)
    weights = model_weights(model, MODEL, BACKBONES, offline)
    locate = image_locations(IMAGES_TABLE, IMAGES)
    choice, sample = extracted_choice(load_params("extract", RuntimeChoice), MODEL / HEAD, lambda: locate)
    networks, sample = store_folder() / "networks", sample or sample_images(locate.ids, locate)
    runtime = choose_runtime(weights, choice, networks, sample)
    known = partial(stored_features, locate, weights, runtime) if model.kind == "frozen" else None
    mapped = MappedModel(head=head, runtime=runtime, preprocessing=weights.preprocessing, locate=locate, known=known)
    evidence = explain_model(mapped, read_splits(IMAGES_TABLE), params.num_images)
    with atomic_path(EVIDENCE) as folder:
        folder.mkdir()
        save_evidence(evidence, folder)
    write_json(explanation_record(evidence), REPORT)
    print(f"explain: {format_explanation(evidence)}")


def stored_features(locate: ImageLocations, weights: Weights, runtime: Runtime, ids: Sequence[str]) -> Features:
    """Give the features of images, shape (n, d), from the store, as `extract` computes them."""
    record = {**weights.to_record(), **runtime.record, "decoder": locate.decoder}
    store = FeatureStore(feature_store_location(), record)
    extract_missing(ids, locate, store, weights.preprocessing, runtime)
    with TemporaryDirectory(prefix="graft-") as folder:
        path = Path(folder) / "features.safetensors"
        store.pack(ids, path, {})
        return read_features(path)[1]


if __name__ == "__main__":
    run_stage("explain", main)
