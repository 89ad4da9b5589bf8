"""The assembled model: a folder with a head, a backbone's record or its fine-tuned weights, and what joins them.

model.json              kind, classes, the backbone's record and, when fine-tuned, its weights' SHA-256
head.safetensors        the head
backbone.safetensors    only when fine-tuned: the trunk's weights
frozen_head.safetensors only when fine-tuned: the head for the pretrained network, to compare with
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stages.graft.core.errors import DataError
from stages.graft.heads.head import Head, load_head, save_head
from stages.graft.storage.files import read_json, write_json

MODEL, BACKBONE, FROZEN_HEAD = "model.json", "backbone.safetensors", "frozen_head.safetensors"


@dataclass(frozen=True, kw_only=True)
class Model:
    """What `model.json` says."""

    kind: Literal["frozen", "finetuned"]
    """frozen: the head reads cached features; finetuned: the folder holds the trunk's weights too."""
    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    backbone: Mapping[str, Any]
    """The record of the pretrained weights and their preprocessing."""
    backbone_sha256: str | None
    """Of backbone.safetensors; None when frozen, where the record has the hash of the pretrained file."""


def write_model(head: Head, backbone: Mapping[str, Any], folder: Path) -> None:
    """Assemble a model from a head and, when the folder already holds one, a fine-tuned trunk."""
    save_head(head, folder, backbone)
    trunk = folder / BACKBONE
    model = Model(
        kind="finetuned" if trunk.exists() else "frozen",
        classes=head.classes,
        backbone=backbone,
        backbone_sha256=_sha256(trunk) if trunk.exists() else None,
    )
    write_json(asdict(model), folder / MODEL)  # last: a folder without it is not a model


def read_model(folder: Path, *, whole: bool = True) -> tuple[Model, Head]:
    """Read a model and its head.

    Args:
        folder: the model's.
        whole: whether a fine-tuned trunk must be there too; a bundle keeps it elsewhere.
    Raises:
        DataError: a file is missing or damaged.
    """
    record = read_json(folder / MODEL)
    try:
        model = Model(**record | {"classes": tuple(record["classes"])})
    except (TypeError, KeyError) as error:
        raise DataError(f"{folder / MODEL} is not a model's record ({error}); `dvc repro` makes it anew") from None
    trunk = folder / BACKBONE
    if whole and model.backbone_sha256 is not None and not (trunk.exists() and _sha256(trunk) == model.backbone_sha256):
        raise DataError(f"{trunk} is missing or damaged; `dvc checkout` or `dvc repro` brings it back")
    return model, load_head(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
