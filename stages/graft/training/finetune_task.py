"""Fine-tuning with the pipeline's files: which images, which part of the network, what is cached and gone on from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.graft.backbone.blocks import block_names, block_of, first_tuned, name_in_network, split_backbone
from stages.graft.backbone.network import NormalisedNetwork, choose_device, load_backbone
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import read_splits
from stages.graft.heads.head import Head
from stages.graft.images.augmentation import Preset
from stages.graft.images.loading import LocateImage
from stages.graft.model.classifier import Classifier, head_from_module, head_module
from stages.graft.storage.cache_folder import STATES
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.locks import exclusive_lock, shared_lock
from stages.graft.training.activation_cache import LabelledImages, Pixels, Source, cached
from stages.graft.training.finetune_loop import FinetuneEpoch, FinetuneRecipe, Outcome, finetune, trains_in_bf16
from stages.graft.training.process_group import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class PipelineFiles:
    """Where the pipeline keeps what fine-tuning reads."""

    images: Path
    """Folder of the images."""
    splits: Path
    """The splits table, which also says where images are."""
    store: Path
    """For activations, and the state of a run that was killed."""


@dataclass(frozen=True, kw_only=True)
class TrainableScope:
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
    trunk: NormalisedNetwork
    """As trained."""
    outcome: Outcome
    """The epochs, and validation before and after."""
    val: LabelledImages
    """The validation images."""
    path_of: LocateImage
    """Where an image's file is."""
    device: torch.device
    """What was trained on."""


@dataclass(frozen=True, kw_only=True)
class FinetuneTask:
    """A fine-tuning, described so that any process can do it."""

    head: Head
    """Fitted on the frozen features."""
    weights: Weights
    """Those that the features came from."""
    files: PipelineFiles
    """The images, their labels and splits."""
    recipe: FinetuneRecipe
    """How to train."""
    extent: TrainableScope
    """How much of the network."""

    def anywhere(self) -> "FinetuneTask":
        """The same with absolute paths, for processes that work in other folders."""
        places = {one.name: getattr(self.files, one.name).absolute() for one in fields(self.files)}
        weights = replace(self.weights, path=self.weights.path and self.weights.path.absolute())
        return replace(self, weights=weights, files=PipelineFiles(**places))


TrainedBy = Callable[[FinetuneTask, Callable[[FinetuneEpoch], None]], Path]
"""Trains a task in other processes, calls back after every epoch, and gives the file with the state this left."""


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A task with everything loaded."""

    device: torch.device
    trunk: NormalisedNetwork
    names: Mapping[int, str]
    """Of the trunk's parameters in the network, by their identity: cutting the trunk renames them."""
    module: nn.Sequential
    """The head."""
    part: nn.Module
    """What of the trunk is trained."""
    frozen: nn.Module | None
    """What of it is not."""
    train: LabelledImages
    val: LabelledImages
    path_of: LocateImage
    made_with: Mapping[str, Any]
    """Everything but images and head that determines the result."""


def finetune_from_files(
    head: Head,
    weights: Weights,
    files: PipelineFiles,
    recipe: FinetuneRecipe,
    extent: TrainableScope,
    log: Callable[[int, dict[str, float]], None],
    trained_by: TrainedBy | None = None,
) -> Finetuned:
    """Fine-tune with the pipeline's files.

    Args:
        head: the head fitted on the frozen features.
        weights: those that the features came from.
        files: the images, their labels and splits.
        recipe: how to train.
        extent: how much of the network.
        log: called after every epoch with its number and its metrics.
        trained_by: trains elsewhere, and leaves the state of a finished training, which this process takes over.
    Raises:
        DataError: a class has no image to train on, or none is there to choose with; and as in `finetune`.
        ParamsError: the network has no such block, or cannot be cut there.
    """
    task = FinetuneTask(head=head, weights=weights, files=files, recipe=recipe, extent=extent)
    ready, report = _ready(task), partial(_report, log)
    with exclusive_lock(_state_file(task, ready), "finetune: another run trains the very same; waiting for it"):
        finished = trained_by(task, report) if trained_by else None
        state = finished or _state_file(task, ready)
        # What a cluster has trained is only scored here: nothing is worth keeping on disk for that.
        outcome = _finetune(
            task, ready, state, report if finished is None else _say_nothing, SINGLE_PROCESS, finished is None
        )
        state.unlink(missing_ok=True)
    return Finetuned(
        head=head_from_module(ready.module, head),
        trunk=ready.trunk,
        outcome=outcome,
        val=ready.val,
        path_of=ready.path_of,
        device=ready.device,
    )


def checkpoint_path(task: FinetuneTask) -> Path:
    """Where this process leaves a task's state after every epoch."""
    return _state_file(task, _ready(task))


def train(task: FinetuneTask, team: ProcessGroup) -> None:
    """Train to the end as one of a team, and leave the state."""
    ready = _ready(task)
    # The first keeps the frozen part's output for all: the others find it there.
    for turn in (True, False):
        if (team.rank == 0) is turn:
            _source(task, ready, keep=True)
        team.gather(None)
    _finetune(task, ready, _state_file(task, ready), _say_nothing, team, keep=True)


def _say_nothing(record: FinetuneEpoch) -> None:
    """Others tell of the epochs."""


def _ready(task: FinetuneTask) -> _Ready:
    device = choose_device("auto")
    trunk, module = load_backbone(task.weights).to(device), head_module(task.head).to(device)
    train, val = _labelled(task.files.splits, task.head.classes)
    names = {id(one): name_in_network(name) for name, one in trunk.named_parameters()}
    part: nn.Module = trunk
    frozen: nn.Module | None = None
    if task.extent.unfreeze_from is not None:
        blocks = block_names(task.weights.name)
        frozen, part = split_backbone(trunk, blocks, first_tuned(blocks, task.extent.unfreeze_from))
    return _Ready(
        device=device,
        trunk=trunk,
        names=names,
        module=module,
        part=part,
        frozen=frozen,
        train=train,
        val=val,
        path_of=image_locations(task.files.splits, task.files.images),
        made_with=_made_with(task.weights, task.recipe, task.extent, device),
    )


def _finetune(
    task: FinetuneTask,
    ready: _Ready,
    state: Path,
    on_epoch: Callable[[FinetuneEpoch], None],
    team: ProcessGroup,
    keep: bool,
) -> Outcome:
    source, num_views = _source(task, ready, keep), _num_views(task.extent)
    network = Classifier(ready.part, ready.module).requires_grad_(True)
    blocks = block_names(task.weights.name)
    depths = {name: _depth(ready.names.get(id(one)), blocks) for name, one in network.named_parameters()}

    def view_of(epoch: int) -> int:
        return epoch - 1 if ready.frozen is None else (epoch - 1) % num_views

    shared_lock(state.parent, network)
    return finetune(network, source, ready.train, ready.val, task.recipe, depths, view_of, state, on_epoch, team)


def _source(task: FinetuneTask, ready: _Ready, keep: bool) -> Source:
    """The images, or what the frozen part makes of them, kept on disk if that is wanted."""
    pixels = _pixels(task.weights, task.recipe, task.extent, ready.path_of, ready.frozen, ready.device)
    if ready.frozen is None or not keep:
        return pixels
    root, made_with = task.files.store / "activations", ready.made_with["activations"]
    num_views = _num_views(task.extent)
    return cached(pixels, ready.train.ids, ready.val.ids, num_views, made_with, root, task.extent.cache_gb)


def _num_views(extent: TrainableScope) -> int:
    return 1 if extent.augmentation == "none" else extent.views


def _pixels(
    weights: Weights,
    recipe: FinetuneRecipe,
    extent: TrainableScope,
    path_of: LocateImage,
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


def _made_with(
    weights: Weights, recipe: FinetuneRecipe, extent: TrainableScope, device: torch.device
) -> dict[str, Any]:
    """Everything but images and head that determines the activations, and the result."""
    activations = {
        "weights": weights.to_record(),
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


def _state_file(task: FinetuneTask, ready: _Ready) -> Path:
    """Where a killed run left its state, by everything that determines its result."""
    digests = {"head": _digest(task.head), "train": _ids(ready.train), "val": _ids(ready.val)}
    return task.files.store / STATES / f"{fingerprint_of({**ready.made_with, **digests})}.safetensors"


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
