"""Fine-tuning with the pipeline's files: which images, which part of the network, what is cached and gone on from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.graft.activations import LabelledImages, Pixels, Source, cached
from stages.graft.backbone import Normalised, choose_device, load_trunk
from stages.graft.blocks import block_names, block_of, first_tuned
from stages.graft.boundary import name_in_network, split_trunk
from stages.graft.classifier import Classifier, head_module, head_of
from stages.graft.errors import DataError
from stages.graft.finetuning import FinetuneEpoch, FinetuneRecipe, Outcome, finetune, trains_in_bf16
from stages.graft.heads import Head
from stages.graft.manifest import manifest_paths, read_manifest
from stages.graft.places import STATES
from stages.graft.reading import PathOf
from stages.graft.splits import read_splits
from stages.graft.store import fingerprint_of
from stages.graft.store_lock import hold
from stages.graft.views import Preset
from stages.graft.weights import Weights


@dataclass(frozen=True, kw_only=True)
class PipelineFiles:
    """Where the pipeline keeps what fine-tuning reads."""

    images: Path
    """Folder of the images."""
    manifest: Path
    """The table of images."""
    splits: Path
    """The splits table."""
    store: Path
    """For activations, and the state of a run that was killed."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of the network is trained, and on what."""

    unfreeze_from: str | int | None
    """A block, or the last so many; None trains all."""
    augmentation: Preset
    """Which views are drawn."""
    views: int
    """Views of each image when a part is frozen; None of them is new after so many epochs."""
    cache_gb: float
    """Room on disk for the frozen part's activations."""


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What came of it."""

    head: Head
    """As trained."""
    trunk: Normalised
    """As trained."""
    outcome: Outcome
    """The epochs, and validation before and after."""
    val: LabelledImages
    """The validation images."""
    path_of: PathOf
    """Where an image's file is."""
    device: torch.device
    """What was trained on."""


def finetune_from_files(
    head: Head,
    weights: Weights,
    files: PipelineFiles,
    recipe: FinetuneRecipe,
    extent: Extent,
    log: Callable[[int, dict[str, float]], None],
) -> Finetuned:
    """Fine-tune with the pipeline's files.

    Args:
        head: the head fitted on the frozen features.
        weights: those that the features came from.
        files: the images, their labels and splits.
        recipe: how to train.
        extent: how much of the network.
        log: called after every epoch with its number and its metrics.
    Raises:
        DataError: a class has no image to train on, or none is there to choose with; and as in `finetune`.
        ParamsError: the network has no such block, or cannot be cut there.
    """
    device = choose_device("auto")
    trunk, module = load_trunk(weights).to(device), head_module(head).to(device)
    train, val = _labelled(files.splits, head.classes)
    path_of = manifest_paths(read_manifest(files.manifest), files.images)
    blocks = block_names(weights.name)
    names = {id(one): name_in_network(name) for name, one in trunk.named_parameters()}
    made_with = _made_with(weights, recipe, extent, device)
    part: nn.Module = trunk
    frozen: nn.Module | None = None
    if extent.unfreeze_from is not None:
        frozen, part = split_trunk(trunk, blocks, first_tuned(blocks, extent.unfreeze_from))
    pixels = _pixels(weights, recipe, extent, path_of, frozen, device)
    source: Source = pixels
    num_views = 1 if extent.augmentation == "none" else extent.views
    if frozen is not None:
        root = files.store / "activations"
        source = cached(pixels, train.ids, val.ids, num_views, made_with["activations"], root, extent.cache_gb)
    network = Classifier(part, module).requires_grad_(True)
    depths = {name: _depth(names.get(id(one)), blocks) for name, one in network.named_parameters()}
    hold(files.store / STATES, network)
    state = _state_file(files.store, made_with, head, train, val)

    def view_of(epoch: int) -> int:
        return epoch - 1 if frozen is None else (epoch - 1) % num_views

    outcome = finetune(network, source, train, val, recipe, depths, view_of, state, partial(_report, log))
    state.unlink(missing_ok=True)
    return Finetuned(head=head_of(module, head), trunk=trunk, outcome=outcome, val=val, path_of=path_of, device=device)


def _pixels(
    weights: Weights,
    recipe: FinetuneRecipe,
    extent: Extent,
    path_of: PathOf,
    frozen: nn.Module | None,
    device: torch.device,
) -> Pixels:
    return Pixels(
        path_of=path_of,
        preprocessing=weights.preprocessing,
        preset=extent.augmentation,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        frozen=frozen,
        device=device,
        in_bf16=trains_in_bf16(recipe.precision, device),
    )


def _made_with(weights: Weights, recipe: FinetuneRecipe, extent: Extent, device: torch.device) -> dict[str, Any]:
    """Everything but images and head that determines the activations, and the result."""
    activations = {
        "weights": weights.record(),
        "unfreeze_from": extent.unfreeze_from,
        "augmentation": extent.augmentation,
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        "in_bf16": trains_in_bf16(recipe.precision, device),
        "libraries": [version(name) for name in ("torch", "torchvision", "pillow", "opencv-python-headless")],
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    return {"activations": activations, "recipe": asdict(recipe), "extent": asdict(extent)}


def _state_file(
    store: Path, made_with: Mapping[str, Any], head: Head, train: LabelledImages, val: LabelledImages
) -> Path:
    """Where a killed run left its state, by everything that determines its result."""
    digests = {"head": _digest(head), "train": _ids(train), "val": _ids(val)}
    return store / STATES / f"{fingerprint_of({**made_with, **digests})}.safetensors"


def _depth(name: str | None, blocks: list[str]) -> int:
    return 0 if name is None else len(blocks) - block_of(name, blocks)


def _digest(head: Head) -> str:
    digest = hashlib.sha256()
    for layer in head.layers:
        for array in layer:
            digest.update(array.tobytes())
    return digest.hexdigest()


def _ids(images: LabelledImages) -> str:
    return hashlib.sha256(f"{list(images.ids)} {images.y.tolist()}".encode()).hexdigest()


def _labelled(splits: Path, classes: Sequence[str]) -> tuple[LabelledImages, LabelledImages]:
    """The training and the validation images."""
    table = read_splits(splits)
    rows = (table[table["split"] == name] for name in ("train", "val"))
    train, val = (
        LabelledImages(ids=some["id"].tolist(), y=np.array([classes.index(label) for label in some["label"]], np.int64))
        for some in rows
    )
    counts = np.bincount(train.y, minlength=len(classes))
    missing = [repr(name) for name, count in zip(classes, counts, strict=True) if not count]
    if missing or not val.ids:
        what = f"no training image of class {', '.join(missing)}" if missing else "no validation image"
        raise DataError(f"{what}; check the split")
    return train, val


def _report(log: Callable[[int, dict[str, float]], None], record: FinetuneEpoch) -> None:
    metrics = {"val_loss": record.val_loss, "val_accuracy": record.val_accuracy}
    log(record.epoch, metrics if record.epoch == 0 else metrics | {"train_loss": record.train_loss})
    print(f"finetune: epoch {record.epoch}: val loss {record.val_loss:.4f}, val accuracy {record.val_accuracy:.1%}")
