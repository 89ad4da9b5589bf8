"""Stage 4 of 8, train_head: fit a new head on frozen features; validation chooses, test is not looked at.

Reads   data/features.safetensors, data/splits.csv
Writes  data/head/, reports/train_head.json, reports/plots/train_head_curve.csv
Params  train_head
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.heads.class_weights import ClassWeight, class_weights
from stages.graft.heads.features import FeatureSet, load_features, read_backbone_record
from stages.graft.heads.head import Head, save_head
from stages.graft.heads.mlp_params import MlpParams
from stages.graft.metrics.classification import accuracy, log_loss
from stages.graft.metrics.training_curve import Epoch, write_curve
from stages.graft.storage.files import write_json

FEATURES, SPLITS = Path("data/features.safetensors"), Path("data/splits.csv")
HEAD, REPORT, CURVE = Path("data/head"), Path("reports/train_head.json"), Path("reports/plots/train_head_curve.csv")


class TrainHeadParams(Params):
    """The section `train_head`."""

    kind: Literal["logistic", "prototype", "mlp"]
    """logistic: multinomial regression; prototype: class means; mlp: one hidden layer."""
    class_weight: ClassWeight
    """none: every image counts alike; balanced: every class does."""
    l2_grid: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    """Penalties the logistic head tries, from the strongest; a tie in validation log loss keeps the stronger."""
    mlp: MlpParams
    """Of the mlp head alone."""


def main() -> None:
    """Fit the head asked for, score it on train and validation, write it."""
    params = load_params("train_head", TrainHeadParams)
    train, val = load_features(FEATURES, SPLITS, "train", "val")
    head, choices, curve = fit(params, train, val)
    report = {"kind": params.kind, **choices, **scores(head, train, val)}
    save_head(head, HEAD, read_backbone_record(FEATURES))
    write_curve(curve, CURVE)
    write_json(report, REPORT)
    print("train_head: " + ", ".join(f"{name} {value}" for name, value in report.items()))


def fit(params: TrainHeadParams, train: FeatureSet, val: FeatureSet) -> tuple[Head, dict[str, float], Sequence[Epoch]]:
    """Fit a head of the kind asked for; give it with what validation chose and the learning curve."""
    weights = class_weights(train.y, train.classes, params.class_weight)
    # Each kind is imported when it is asked for: only the MLP needs torch, only the logistic head scikit-learn.
    if params.kind == "mlp":
        from stages.graft.heads.mlp import fit_mlp
        from stages.graft.tracking.publish import live_run

        with live_run("train_head") as live:
            return fit_mlp(train, val, weights, params.mlp, live.log)
    if params.kind == "prototype":
        from stages.graft.heads.prototypes import fit_prototypes

        return *fit_prototypes(train, val, weights), []
    from stages.graft.heads.logistic import fit_logistic

    return *fit_logistic(train, val, params.l2_grid, weights), []


def scores(head: Head, train: FeatureSet, val: FeatureSet) -> dict[str, float]:
    """Score a head on the images it was fitted to and chosen with; test images are not scored here."""
    report: dict[str, float] = {}
    for name, images in (("val", val), ("train", train)):
        logits = head.logits(images.x)
        report[f"{name}_accuracy"] = round(accuracy(logits.argmax(axis=1), images.y), 6)
        report[f"{name}_log_loss"] = round(log_loss(logits, images.y), 6)
    return report | {"num_train": len(train.y), "num_val": len(val.y), "num_features": train.x.shape[1]}


if __name__ == "__main__":
    run_stage("train_head", main)
