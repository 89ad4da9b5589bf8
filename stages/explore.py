"""Stage 7 of 10, explore: doubtful labels, baselines, a map, accuracy over shots, what more labels would bring.

Reads   data/images/, data/splits.csv, data/features.safetensors, reports/split.json, ingest.labels
Writes  data/baselines.csv, reports/explore.json, reports/label_errors.csv, reports/plots/map.csv and shots.csv
Params  explore, ingest.labels, evaluate.target_accuracy
"""

from pathlib import Path

import numpy as np

from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.given_labels import checked_rows
from stages.graft.data.image_locations import image_locations
from stages.graft.data.split_names import TEST
from stages.graft.data.splits import SPLITS as SPLIT_NAMES
from stages.graft.data.splits import extend_table, read_splits
from stages.graft.evaluation.baselines import predict_baselines
from stages.graft.evaluation.explore_params import ExploreParams, GivenLabelsParams, TargetParams
from stages.graft.evaluation.feature_map import make_map, map_table
from stages.graft.evaluation.label_errors import find_label_errors, format_label_errors
from stages.graft.evaluation.learning_curve import forecast_record, format_forecast
from stages.graft.evaluation.linear_probe import MAX_IMAGES, choose_penalty
from stages.graft.evaluation.shots import shots_table
from stages.graft.heads.features import load_all_features, read_white_level, select_rows
from stages.graft.metrics.sampling import stratified_rows
from stages.graft.storage.files import read_json, write_json
from stages.graft.storage.tables import write_report_csv

IMAGES, SPLITS, FEATURES = Path("data/images"), Path("data/splits.csv"), Path("data/features.safetensors")
SPLIT_REPORT = Path("reports/split.json")
BASELINES, REPORT = Path("data/baselines.csv"), Path("reports/explore.json")
LABEL_ERRORS = Path("reports/label_errors.csv")
MAP, SHOTS = Path("reports/plots/map.csv"), Path("reports/plots/shots.csv")


def main() -> None:
    """Fit the default head to parts of the images, and write what it shows about them."""
    params, target = load_params("explore", ExploreParams), load_params("evaluate", TargetParams).target_accuracy
    images = read_splits(SPLITS, ("id", "file", "label", "group", "split"))
    everything = load_all_features(FEATURES, SPLITS)  # a wrong label matters in test as well; it chooses nothing
    train, val, test = (select_rows(everything, np.flatnonzero(images["split"] == name)) for name in SPLIT_NAMES)
    l2 = choose_penalty(train, val)
    images["is_checked"] = checked_rows(Path(load_params("ingest", GivenLabelsParams).labels), images)
    predicted, label_errors = find_label_errors(everything, images, params.num_folds)
    rows = stratified_rows(everything.y, params.map_images)
    feature_map = make_map(everything.x[rows], params.seed)
    write_report_csv(label_errors, LABEL_ERRORS)
    locate, white_level = image_locations(SPLITS, IMAGES), read_white_level(FEATURES)
    extend_table(SPLITS, BASELINES, **predict_baselines(train, val, test, locate, images["id"], white_level))
    write_report_csv(shots_table(train, val, l2, params.num_draws, params.seed), SHOTS)
    write_report_csv(map_table(feature_map, images.iloc[rows], [everything.classes[k] for k in predicted[rows]]), MAP)
    report = {
        "num_images": len(everything.y),
        "num_suspected": int(label_errors["suspected"].sum()),
        "num_checked": int(images["is_checked"].sum()),
        "cross_validated_accuracy": round(float((predicted == everything.y).mean()), 6),
        "l2": l2,
        "num_images_per_fit": MAX_IMAGES,
        "num_images_on_map": len(rows),
        "map_explained_variance": round(feature_map.explained, 6),
        "splits_given": read_json(SPLIT_REPORT)["given"],
        "forecast": forecast_record(everything, np.flatnonzero(images["split"] != TEST), target, params.seed),
    }
    write_json(report, REPORT)
    print(f"explore: {format_label_errors(report)}; {format_forecast(report['forecast'])}")


if __name__ == "__main__":
    run_stage("explore", main)
