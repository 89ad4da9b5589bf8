"""Stage 6 of 6, evaluate: score the test split, once, and publish the run.

Reads   data/manifest.csv, data/splits.csv, data/model/, data/features.safetensors; of a fine-tuned model data/images/
Writes  reports/metrics.json, reports/predictions.csv, reports/plots/confusion.csv, reports/plots/per_class.csv
Params  evaluate
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from stages.graft.artifacts import write_csv, write_json
from stages.graft.errors import run
from stages.graft.evaluation import (
    Evaluation,
    confusion_table,
    metrics_record,
    per_class_table,
    predictions_table,
    summary,
)
from stages.graft.features import load_features
from stages.graft.heads import Float32, Head
from stages.graft.manifest import manifest_paths, read_manifest
from stages.graft.model import read_model
from stages.graft.params import Params, load_params
from stages.graft.splits import read_splits
from stages.graft.tracking import publish

IMAGES, MANIFEST, SPLITS = Path("data/images"), Path("data/manifest.csv"), Path("data/splits.csv")
FEATURES, MODEL = Path("data/features.safetensors"), Path("data/model")
METRICS, PREDICTIONS = Path("reports/metrics.json"), Path("reports/predictions.csv")
CONFUSION, PER_CLASS = Path("reports/plots/confusion.csv"), Path("reports/plots/per_class.csv")


class EvaluateParams(Params):
    """The section `evaluate`."""

    confidence_level: Annotated[float, Field(gt=0, lt=1)]
    """Of the accuracy's interval (Wilson)."""


def main() -> None:
    """Score the test images, write figures and tables, publish."""
    params = load_params("evaluate", EvaluateParams)
    model, head = read_model(MODEL)
    manifest, splits = read_manifest(MANIFEST), read_splits(SPLITS)
    images = manifest[manifest["id"].isin(splits["id"][splits["split"] == "test"])]  # both tables are sorted by id
    logits = head_logits(head) if model.kind == "frozen" else network_logits(manifest, images["id"].to_list())
    evaluation = Evaluation(images=images, classes=model.classes, logits=logits)
    record = metrics_record(evaluation, params.confidence_level)
    write_json(record, METRICS)
    write_csv(predictions_table(evaluation), PREDICTIONS)
    write_csv(confusion_table(evaluation), CONFUSION)
    write_csv(per_class_table(evaluation), PER_CLASS)
    print(f"evaluate: {summary(evaluation, record, params.confidence_level)}")
    publish()


def head_logits(head: Head) -> Float32:
    """Score the test images from their features, (n, c)."""
    (test,) = load_features(FEATURES, SPLITS, "test")
    return head.logits(test.x)


def network_logits(manifest: pd.DataFrame, ids: list[str]) -> Float32:
    """Score the test images with the fine-tuned network, (n, c)."""
    from stages.graft.backbone import choose_device  # torch
    from stages.graft.classifier import predict_logits

    return predict_logits(MODEL, ids, manifest_paths(manifest, IMAGES), choose_device("auto"))


if __name__ == "__main__":
    run("evaluate", main)
