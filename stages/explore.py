"""Stage 6 of 8, explore: what the images say before any head: doubtful labels, baselines, a map, a curve over shots.

Reads   data/images/, data/splits.csv, data/features.safetensors
Writes  data/baselines.csv, reports/explore.json, reports/label_errors.csv, reports/plots/map.csv and shots.csv
Params  explore
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import read_splits
from stages.graft.evaluation.baselines import predict_baselines
from stages.graft.evaluation.feature_map import make_map, map_table
from stages.graft.evaluation.label_errors import label_errors_table
from stages.graft.evaluation.linear_probe import MAX_IMAGES, choose_penalty, concatenate_sets, cross_validate
from stages.graft.evaluation.shots import shots_table
from stages.graft.heads.features import load_features
from stages.graft.metrics.sampling import stratified_rows
from stages.graft.storage.files import write_json
from stages.graft.storage.tables import write_csv

IMAGES, SPLITS = Path("data/images"), Path("data/splits.csv")
FEATURES, BASELINES, REPORT = (
    Path("data/features.safetensors"),
    Path("data/baselines.csv"),
    Path("reports/explore.json"),
)
LABEL_ERRORS, MAP, SHOTS = (
    Path("reports/label_errors.csv"),
    Path("reports/plots/map.csv"),
    Path("reports/plots/shots.csv"),
)


class ExploreParams(Params):
    """The section `explore`."""

    num_folds: Annotated[int, Field(ge=2)]
    """Heads that are fitted, each without its share of the images, to judge that share's labels."""
    num_draws: PositiveInt
    """Times the training images of each size are drawn for the curve over shots."""
    map_images: Annotated[int, Field(ge=3)]
    """Images on the map, at most."""
    seed: Annotated[int, Field(ge=0)]
    """Seeds the draws and the map."""


def main() -> None:
    """Look at the images through the default head; write tables."""
    params = load_params("explore", ExploreParams)
    train, val, test, unused = load_features(FEATURES, SPLITS, "train", "val", "test", "unused")
    images = read_splits(SPLITS, ("id", "file", "label", "group", "split"))

    l2 = choose_penalty(train, val)
    # Test images are judged too: a wrong label matters there as well, and nothing is chosen by it.
    everything = concatenate_sets(train, val, test, unused)
    probabilities = cross_validate(everything, images["group"].to_list(), l2, params.num_folds)
    predicted = probabilities.argmax(axis=1)
    label_errors = label_errors_table(images, everything.y, everything.classes, probabilities)
    write_csv(label_errors, LABEL_ERRORS)
    write_csv(predict_baselines(train, val, test, image_locations(SPLITS, IMAGES)), BASELINES)
    shots = shots_table(train, val, l2, params.num_draws, params.seed)
    write_csv(shots, SHOTS)

    rows = stratified_rows(everything.y, params.map_images)
    places = make_map(everything.x[rows], params.seed)
    names = [everything.classes[k] for k in predicted[rows]]
    write_csv(map_table(places, images.iloc[rows], names), MAP)
    report = {
        "num_images": len(everything.y),
        "num_suspected": int(label_errors["suspected"].sum()),
        "cross_validated_accuracy": round(float((predicted == everything.y).mean()), 6),
        "l2": l2,
        "num_images_per_fit": MAX_IMAGES,
        "num_images_on_map": len(rows),
        "map_explained_variance": round(places.explained, 6),
    }
    write_json(report, REPORT)
    print("explore: " + ", ".join(f"{name} {value}" for name, value in report.items()))


if __name__ == "__main__":
    run_stage("explore", main)
