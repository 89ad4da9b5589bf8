"""Stage 5 of 10, train_head: fit a new head on frozen features; test images are not looked at.

Reads   data/features.safetensors, data/splits.csv, data/unlabelled.safetensors
Writes  data/head/, reports/train_head.json, reports/plots/train_head_curve.csv
Params  train_head
"""

from pathlib import Path

from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.heads.features import FeatureSet, load_features, read_backbone_record, with_unlabelled
from stages.graft.heads.fitting import FittedHead, fit_head, format_choice
from stages.graft.heads.head import Head, read_calibrated_on, save_head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.classification import accuracy, log_loss
from stages.graft.metrics.training_curve import write_curve
from stages.graft.storage.files import write_json

FEATURES, SPLITS = Path("data/features.safetensors"), Path("data/splits.csv")
UNLABELLED = Path("data/unlabelled.safetensors")
HEAD, REPORT, CURVE = Path("data/head"), Path("reports/train_head.json"), Path("reports/plots/train_head_curve.csv")


def main() -> None:
    """Fit the head asked for, score it on train and validation, write it."""
    params = load_params("train_head", TrainHeadParams)
    train, val = load_features(FEATURES, SPLITS, "train", "val")
    train = with_unlabelled(train, UNLABELLED)
    fitted = fit(params, train, val)
    report = {"kind": params.kind, **fitted.choices, **scores(fitted.head, train, val)}
    save_head(fitted.head, HEAD, read_backbone_record(FEATURES), calibrated_on=read_calibrated_on(FEATURES))
    write_curve(fitted.epochs, CURVE)
    write_json(report, REPORT)
    print("\n".join(f"train_head: {line}" for line in format_choice(report)))


def fit(params: TrainHeadParams, train: FeatureSet, val: FeatureSet) -> FittedHead:
    """Fit a head of the kind asked for, and show the epochs of an MLP in MLflow."""
    if params.kind != "mlp":
        return fit_head(params, train, val, lambda *_: None)
    from stages.graft.tracking.live import live_run

    with live_run("train_head") as live:
        return fit_head(params, train, val, live.log)


def scores(head: Head, train: FeatureSet, val: FeatureSet) -> dict[str, float]:
    """Score a head on the images it was fitted to and chosen with; test images are not scored here."""
    report: dict[str, float] = {}
    for name, images in (("val", val), ("train", train)):
        logits = head.logits(images.x)
        report[f"{name}_accuracy"] = round(accuracy(logits.argmax(axis=1), images.y), 6)
        report[f"{name}_log_loss"] = round(log_loss(logits, images.y), 6)
    num_unlabelled = 0 if train.unlabelled is None else len(train.unlabelled)
    report |= {"num_train": len(train.y), "num_val": len(val.y), "num_unlabelled": num_unlabelled}
    return report | {"num_features": train.x.shape[1]}


if __name__ == "__main__":
    run_stage("train_head", main)
