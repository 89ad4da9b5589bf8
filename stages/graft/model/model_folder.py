"""The model's folder: a head, and the record of a pretrained backbone or the weights of a fine-tuned one.

model.json              kind, classes, the backbone's record and, when fine-tuned, its weights' SHA-256
head.safetensors        the head
backbone.safetensors    the backbone's weights, only when fine-tuned
frozen_head.safetensors the head for the pretrained backbone, only when fine-tuned: to compare with
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from stages.graft.backbone.weights import FINETUNED, Weights, weights_for, weights_from_record
from stages.graft.core.errors import DataError
from stages.graft.heads.head import Head, load_head, save_head
from stages.graft.storage.files import write_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.records import read_record

MODEL, BACKBONE, FROZEN_HEAD = "model.json", "backbone.safetensors", "frozen_head.safetensors"


@dataclass(frozen=True, kw_only=True)
class Model:
    """The content of `model.json`."""

    kind: Literal["frozen", "finetuned"]
    """frozen: the head reads cached features; finetuned: the folder has the backbone's weights too."""
    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    backbone: Mapping[str, Any]
    """The record of the pretrained weights and their preprocessing."""
    backbone_sha256: str | None
    """SHA-256 of backbone.safetensors; None when frozen: the record has the SHA-256 of the pretrained file."""


def write_model(head: Head, backbone: Mapping[str, Any], folder: Path, calibrated_on: Sequence[str] = ()) -> None:
    """Write the head, and the record of a model on the pretrained backbone that a record describes.

    If the backbone is fine-tuned, its weights are in the folder already. `calibrated_on` is as in `save_head`.
    """
    save_head(head, folder, backbone, calibrated_on=calibrated_on)
    weights = folder / BACKBONE
    model = Model(
        kind="finetuned" if weights.exists() else "frozen",
        classes=head.classes,
        backbone=backbone,
        backbone_sha256=sha256_of(weights) if weights.exists() else None,
    )
    write_json(asdict(model), folder / MODEL)  # last: a folder without it is not a model


def read_model(folder: Path) -> tuple[Model, Head]:
    """Read a model and its head, and check a fine-tuned backbone's weights.

    Raises:
        DataError: a file is missing or damaged.
    """
    model = read_record(folder / MODEL, TypeAdapter(Model))
    weights, expected = folder / BACKBONE, model.backbone_sha256
    if expected is not None and not (weights.exists() and sha256_of(weights) == expected):
        raise DataError(f"{weights} is missing or damaged; `dvc checkout` or `dvc repro` brings it back")
    return model, load_head(folder)


def model_weights(model: Model, folder: Path, bundled: Path, offline: bool) -> Weights:
    """Find the weights of a model's backbone: the fine-tuned ones in its folder, or those that computed the features.

    For those, `bundled` and `offline` are as in `weights_for`.
    """
    if model.backbone_sha256 is None:
        return weights_for(model.backbone, bundled, offline)
    changed = {"weights": FINETUNED, "sha256": model.backbone_sha256}
    return weights_from_record({**model.backbone, **changed}, folder / BACKBONE)
