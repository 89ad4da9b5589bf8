"""Fine-tuning with the pipeline's files: which images, which part of the network, what is cached and resumed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.graft.backbone.network import NormalisedNetwork, choose_device
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import read_splits
from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.loading import LocateImage
from stages.graft.metrics.training_curve import Epoch
from stages.graft.storage.cache_folder import STATES
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.locks import exclusive_lock, shared_lock
from stages.graft.storage.sealed import remove_named
from stages.graft.training.activation_cache import ComputedInputs, IdsByView, Inputs, LabelledImages, cached
from stages.graft.training.finetune_loop import Outcome, TrainingSetup, finetune
from stages.graft.training.finetune_params import FinetuneParams
from stages.graft.training.head_refit import as_used, refit_head, trained_features
from stages.graft.training.precision import computes_in_bf16, trains_in_bf16
from stages.graft.training.process_group import ProcessGroup
from stages.graft.training.trainable_network import trainable_network

NO_EFFECT = {"keep", "cache_gb", "measure_forgetting", "source_images"}
"""Parameters that do not change the result of a training."""


@dataclass(frozen=True, kw_only=True)
class PipelineFiles:
    """Paths of the files that fine-tuning reads, and of its store."""

    images: Path
    """Folder of the images."""
    splits: Path
    """The splits table, which also says where images are."""
    store: Path
    """Folder of the store, for activations and checkpoints."""


@dataclass(frozen=True, kw_only=True)
class FinetuneTask:
    """A fine-tuning, described so that any process can run it."""

    head: Head
    """The head fitted on the frozen features."""
    weights: Weights
    """Weights of the network that computed the features."""
    files: PipelineFiles
    """The images, their labels and splits."""
    params: FinetuneParams
    """The section `finetune`."""
    head_params: TrainHeadParams
    """The section `train_head`, for the head that is fitted again after the training."""

    def with_absolute_paths(self) -> "FinetuneTask":
        """Make the same task for processes that run in other folders."""
        paths = {field.name: getattr(self.files, field.name).absolute() for field in fields(self.files)}
        weights = replace(self.weights, path=self.weights.path and self.weights.path.absolute())
        return replace(self, weights=weights, files=PipelineFiles(**paths))


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """Results of a fine-tuning."""

    head: Head
    """The head that was fitted again on the features of the trained backbone."""
    backbone: NormalisedNetwork
    """The trained backbone."""
    outcome: Outcome
    """The epochs, and the logits of the validation images before."""
    val_after: Float32
    """Logits of the validation images by the trained backbone and its head, shape (n, c)."""
    val: LabelledImages
    """The validation images."""
    locate: LocateImage
    """Gives the location of an image's file."""
    device: torch.device
    """Device of the backbone."""


RemoteTrainer = Callable[[FinetuneTask, Callable[[Epoch], None]], Path]
"""Trains in other processes, calls back after every epoch, and returns the checkpoint of the finished training."""


def finetune_from_files(
    task: FinetuneTask, log: Callable[[int, dict[str, float]], None], remote_trainer: RemoteTrainer | None = None
) -> Finetuned:
    """Fine-tune with the pipeline's files; `log` is called after every epoch with its number and its metrics.

    A remote trainer trains in other processes; this process takes over the finished training. The head is fitted again
    on the features of the trained network.

    Raises:
        DataError: a class has no training image, or there is no validation image; and as in `finetune`.
        ParamsError: the network has no such block, or cannot be cut there.
    """
    backbone, inputs, setup = _load(task)
    before = _over_views_before(task, as_used(setup, task.weights, backbone, inputs))
    checkpoint, report = checkpoint_path(task), partial(_report, log)
    with exclusive_lock(checkpoint, "finetune: another run trains the very same; waiting for it"):
        if remote_trainer is None:
            setup = replace(setup, inputs=_cached(task, setup, inputs))
            outcome = _finetune(setup, checkpoint, report)
        else:
            checkpoint = remote_trainer(task, report)
            outcome = _finetune(setup, checkpoint, _ignore_epoch)  # the training is finished: computes only the scores
        as_model = as_used(setup, task.weights, backbone, inputs)
        head, val_after = refit_head(as_model, task.head_params, task.head.classes)
        remove_named(checkpoint)
    return Finetuned(
        head=head,
        backbone=backbone,
        outcome=outcome if before is None else replace(outcome, val_before=before),
        val_after=val_after,
        val=setup.val,
        locate=inputs.locate,
        device=inputs.device,
    )


def _over_views_before(task: FinetuneTask, setup: TrainingSetup) -> Float32 | None:
    """Score the validation images before the training as the model without it does, if that takes several views."""
    if task.weights.views == 1:
        return None
    return task.head.logits(trained_features(setup, setup.val, task.head.classes).x)


def train(task: FinetuneTask, group: ProcessGroup) -> None:
    """Train to the end as one process of a group, and leave the checkpoint."""
    _, inputs, setup = _load(task)
    # The first process caches the output of the frozen part; then the others find it there.
    for is_first in (True, False):
        if (group.rank == 0) is is_first:
            setup = replace(setup, inputs=_cached(task, setup, inputs), group=group)
        group.gather(None)
    _finetune(setup, checkpoint_path(task), _ignore_epoch)


def checkpoint_path(task: FinetuneTask) -> Path:
    """Give the path of a task's checkpoint, named by everything that determines the result of the training.

    It is that of a named file (see `storage.sealed`), without the hash.
    """
    head_bytes = b"".join(array.tobytes() for array in task.head.arrays.values())
    determined_by = {
        "environment": _cache_key(task),
        "params": task.params.model_dump(exclude=NO_EFFECT),
        "head": hashlib.sha256(head_bytes).hexdigest(),
        "images": [[*images.ids, *images.y.tolist()] for images in _labelled(task)],
    }
    return task.files.store / STATES / f"{fingerprint_of(determined_by)}.safetensors"


def _load(task: FinetuneTask) -> tuple[NormalisedNetwork, ComputedInputs, TrainingSetup]:
    """Load the backbone and the tables; set up the training with inputs that are computed in every epoch."""
    (train, val), params = _labelled(task), task.params
    weights = class_weights(train.y, task.head.classes, params.class_weight)
    if not val.ids:
        raise DataError("no validation image; check the split")
    device = choose_device("auto")
    network = trainable_network(task.weights, task.head, params.boundary, device)
    inputs = ComputedInputs(
        locate=image_locations(task.files.splits, task.files.images),
        preprocessing=task.weights.preprocessing,
        preset=params.augmentation,
        seed=params.seed,
        batch_size=params.batch_size,
        frozen=network.frozen,
        device=device,
        in_bf16=computes_in_bf16(params.precision, device),
    )
    setup = TrainingSetup(
        network=network.classifier,
        depths=network.depths,
        inputs=inputs,
        train=train,
        val=val,
        class_weights=weights,
        params=params,
        in_bf16=trains_in_bf16(network.classifier, params.precision, device),
    )
    return network.backbone, inputs, setup


def _labelled(task: FinetuneTask) -> list[LabelledImages]:
    """Read the training images, and the validation images."""
    table, classes = read_splits(task.files.splits), task.head.classes
    return [
        LabelledImages(ids=rows["id"].tolist(), y=np.array([classes.index(label) for label in rows["label"]], np.int64))
        for rows in (table[table["split"] == name] for name in ("train", "val"))
    ]


def _finetune(setup: TrainingSetup, checkpoint: Path, on_epoch: Callable[[Epoch], None]) -> Outcome:
    shared_lock(checkpoint.parent, setup.network)
    return finetune(setup, checkpoint, on_epoch)


def _cached(task: FinetuneTask, setup: TrainingSetup, inputs: ComputedInputs) -> Inputs:
    """Cache the output of the frozen part, if there is one."""
    if task.params.num_views is None:
        return inputs
    unchanged = (*setup.val.ids, *setup.train.ids)  # training images too: the head is fitted again on them
    ids: IdsByView = {None: unchanged} | dict.fromkeys(range(task.params.num_views), setup.train.ids)
    return cached(inputs, ids, _cache_key(task), task.files.store / "activations", task.params.cache_gb)


def _cache_key(task: FinetuneTask) -> dict[str, Any]:
    """Collect everything except the images that determines the output of the frozen part."""
    params, device = task.params, choose_device("auto")
    return {
        "weights": task.weights.to_record(),
        "unfreeze_from": params.boundary,
        "augmentation": params.augmentation,
        "seed": params.seed,
        "batch_size": params.batch_size,
        "in_bf16": computes_in_bf16(params.precision, device),
        "libraries": [version(name) for name in ("torch", "torchvision", "pillow", "opencv-python-headless")],
        "device": str(device),
        "threads": torch.get_num_threads(),
    }


def _report(log: Callable[[int, dict[str, float]], None], epoch: Epoch) -> None:
    log(epoch.epoch, epoch.metrics())
    print(f"finetune: epoch {epoch.epoch}: validation {epoch.val_accuracy:.1%}, loss {epoch.val_loss:.3f}")


def _ignore_epoch(epoch: Epoch) -> None:
    """Report nothing: another process reports the epochs."""
