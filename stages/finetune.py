"""Stage 5 of 6, finetune: assemble the model, after training the whole network further if that is asked for.

Reads   data/head/, and when it trains data/images/, data/manifest.csv, data/splits.csv, the backbone's weights
Writes  data/model/, reports/finetune.json, reports/plots/finetune_curve.csv
Params  finetune
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from stages.graft.artifacts import atomic_path, read_metadata, write_json
from stages.graft.curves import Epoch, write_curve
from stages.graft.errors import run
from stages.graft.heads import HEAD, load_head
from stages.graft.model import write_model
from stages.graft.params import Params, load_params

IMAGES, MANIFEST, SPLITS = Path("data/images"), Path("data/manifest.csv"), Path("data/splits.csv")
HEAD_FOLDER, BACKBONES = Path("data/head"), Path("data/backbones")
MODEL, REPORT, CURVE = Path("data/model"), Path("reports/finetune.json"), Path("reports/plots/finetune_curve.csv")


class FinetuneParams(Params):
    """The section `finetune`."""

    strategy: Literal["none", "full"]
    """none keeps the trunk frozen and only assembles the model; full trains the trunk and the head on."""
    epochs: PositiveInt
    """Passes over the training images, at most."""
    batch_size: PositiveInt
    """Images a step."""
    learning_rate: PositiveFloat
    """AdamW's peak rate."""
    weight_decay: float = Field(ge=0)
    """AdamW's weight decay."""
    patience: PositiveInt
    """Epochs without a lower validation log loss after which training ends."""
    seed: int = Field(ge=0, lt=2**32)
    """Seeds the order and the views."""


def main() -> None:
    """Assemble data/model from the head, and from the trunk when it was trained on."""
    params = load_params("finetune", FinetuneParams)
    head, backbone = load_head(HEAD_FOLDER), read_metadata(HEAD_FOLDER / HEAD)["backbone"]
    curve: Sequence[Epoch] = []
    report: dict[str, str | int | float] = {"strategy": params.strategy}
    with atomic_path(MODEL) as folder:
        if params.strategy == "full":
            from stages.graft.finetuning import FinetuneRecipe, PipelineFiles, finetune_from_files  # torch
            from stages.graft.tracking import stream

            recipe = FinetuneRecipe(**params.model_dump(exclude={"strategy"}))
            inputs = PipelineFiles(images=IMAGES, manifest=MANIFEST, splits=SPLITS, bundled=BACKBONES)
            with stream("finetune") as log:
                head, curve = finetune_from_files(head, backbone, inputs, recipe, folder, log.log)
            best = min(curve, key=lambda record: record.val_loss)
            report |= {
                "epoch": best.epoch,
                "val_log_loss": round(best.val_loss, 6),
                "val_accuracy": round(best.val_accuracy, 6),
            }
        write_model(head, backbone, folder)
    write_curve(curve, CURVE)
    write_json(report, REPORT)
    print(f"finetune: {', '.join(f'{key} {value}' for key, value in report.items())}")


if __name__ == "__main__":
    run("finetune", main)
