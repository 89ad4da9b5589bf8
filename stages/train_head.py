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
from stages.graft.heads.features import load_features, read_backbone_record
from stages.graft.heads.head import save_head
from stages.graft.heads.mlp_params import MlpParams
from stages.graft.heads.scores import score_head
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
    weights = class_weights(train.y, train.classes, params.class_weight)
    choices: dict[str, float]
    curve: Sequence[Epoch] = []
    # Each kind is imported when it is asked for: only the MLP needs torch, only the logistic head scikit-learn.
    if params.kind == "mlp":
        from stages.graft.heads.mlp import fit_mlp
        from stages.graft.tracking.publish import live_run

        with live_run("train_head") as live:
            head, choices, curve = fit_mlp(train, val, weights, params.mlp, live.log)
    elif params.kind == "prototype":
        from stages.graft.heads.prototypes import fit_prototypes

        head, choices = fit_prototypes(train, val, weights)
    else:
        from stages.graft.heads.logistic import fit_logistic

        head, choices = fit_logistic(train, val, params.l2_grid, weights)
    report = {"kind": params.kind, **choices, **score_head(head, train, val)}
    save_head(head, HEAD, read_backbone_record(FEATURES))
    write_curve(curve, CURVE)
    write_json(report, REPORT)
    print("train_head: " + ", ".join(f"{name} {value}" for name, value in report.items()))


if __name__ == "__main__":
    run_stage("train_head", main)
