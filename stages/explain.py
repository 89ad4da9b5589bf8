"""Stage 8 of 10, explain: find what turns the network's maps into heat maps, and whether these can be trusted.

Reads   data/model/, data/baselines.csv, data/features.safetensors, data/images/
Writes  data/evidence/, reports/explain.json
Params  explain, backbone.offline, extract
"""

from pathlib import Path

from stages.graft.backbone.precision_check import sample_images
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import OfflineParams
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import read_splits
from stages.graft.evaluation.explain_params import ExplainParams
from stages.graft.evaluation.explanation import MappedModel, explain_model, explanation_record, format_explanation
from stages.graft.heads.head import HEAD
from stages.graft.model.heat_map import save_evidence
from stages.graft.model.model_folder import model_weights, read_model
from stages.graft.model.model_runtime import extracted_choice
from stages.graft.model.scoring import score_cached
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, write_json

IMAGES, IMAGES_TABLE, FEATURES = Path("data/images"), Path("data/baselines.csv"), Path("data/features.safetensors")
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
    known = score_cached(head, FEATURES) if model.kind == "frozen" else None
    mapped = MappedModel(head=head, runtime=runtime, preprocessing=weights.preprocessing, locate=locate, known=known)
    evidence = explain_model(mapped, read_splits(IMAGES_TABLE), params.num_images)
    with atomic_path(EVIDENCE) as folder:
        folder.mkdir()
        save_evidence(evidence, folder)
    write_json(explanation_record(evidence), REPORT)
    print(f"explain: {format_explanation(evidence)}")


if __name__ == "__main__":
    run_stage("explain", main)
