"""Fine-tuning: go on training a pretrained trunk together with the head that was fitted on its frozen features.

Linear probe first, then fine-tune: the head starts where stage 4 left it, so that a random one does not distort the
trunk (Kumar et al., ICLR 2022). Letters: n images, c classes.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.artifacts import atomic_path
from stages.graft.augmentation import Augmentation, augment
from stages.graft.backbone import Normalised, choose_device, load_trunk, read_tensors
from stages.graft.errors import DataError
from stages.graft.heads import Head
from stages.graft.layers import trunk_of
from stages.graft.manifest import manifest_paths, read_manifest
from stages.graft.model import BACKBONE, read_model
from stages.graft.networks import build_network, load_weights
from stages.graft.preprocessing import Preprocessing, preprocessing_from
from stages.graft.progress import Progress
from stages.graft.reading import PathOf, decoded_batches
from stages.graft.splits import read_splits
from stages.graft.weights import weights_of

VIEWS = Augmentation(flip_horizontal=True, flip_vertical=True, brightness=0.1, contrast=0.1)
"""Mild, and safe where left and right, up and down mean the same, as on a plate under a microscope."""

PREDICTION_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """How the trunk and the head go on."""

    epochs: int
    """Passes over the training images, at most."""
    batch_size: int
    """Images a step."""
    learning_rate: float
    """AdamW's peak for the head and the trunk alike."""
    weight_decay: float
    """AdamW's, on weights with two or more dimensions."""
    patience: int
    """Epochs without a lower validation log loss after which training ends."""
    seed: int
    """Seeds the order and the views."""


@dataclass(frozen=True, kw_only=True)
class FinetuneEpoch:
    """One epoch's outcome; epoch 0 is the head on the frozen trunk."""

    epoch: int
    """Counted from 1; 0 before any step."""
    train_loss: float
    """Mean cross-entropy over the training views, in nats; NaN for epoch 0."""
    val_loss: float
    """Mean cross-entropy on validation, in nats."""
    val_accuracy: float
    """Top-1 accuracy on validation, [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images to train or choose on."""

    ids: Sequence[str]
    """SHA-256 of each image's bytes, hex, n of them."""
    y: npt.NDArray[np.int64]
    """Class indices, shape (n,), int64."""


@dataclass(frozen=True, kw_only=True)
class PipelineFiles:
    """Where the pipeline keeps what fine-tuning reads."""

    images: Path
    """Folder of the images."""
    manifest: Path
    """The table of images."""
    splits: Path
    """The splits table."""
    bundled: Path
    """Folder of the networks that ship with the repository."""


class Classifier(nn.Module):
    """A trunk and a head; uint8 images (n, h, w, 3) to logits (n, c)."""

    def __init__(self, trunk: Normalised, head: nn.Sequential) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, images: Tensor) -> Tensor:
        """Score images."""
        logits: Tensor = self.head(self.trunk(images).flatten(1))
        return logits


def head_module(head: Head) -> nn.Sequential:
    """Turn a head's arrays into torch layers: Linear, or Linear, ReLU, Linear."""
    layers: list[nn.Module] = []
    for weight, bias in head.layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [nn.ReLU(), layer] if layers else [layer]
    return nn.Sequential(*layers)


def head_of(module: nn.Sequential, like: Head) -> Head:
    """Turn torch layers back into a head's arrays."""
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    layers = tuple((layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in linear)
    return Head(kind=like.kind, classes=like.classes, layers=layers)


def finetune(
    classifier: Classifier,
    train: LabelledImages,
    val: LabelledImages,
    path_of: PathOf,
    preprocessing: Preprocessing,
    recipe: FinetuneRecipe,
    on_epoch: Callable[[FinetuneEpoch], None],
) -> list[FinetuneEpoch]:
    """Train trunk and head, in place, and leave the epoch of lowest validation log loss; epoch 0 counts too.

    Args:
        classifier: a pretrained trunk and a fitted head, on the device to train on.
        train: the images to learn from.
        val: the images that choose the epoch.
        path_of: where an image's file is.
        preprocessing: resize and crop.
        recipe: how to train.
        on_epoch: called after every epoch.
    Returns:
        Every epoch's outcome, epoch 0 first.
    Raises:
        DataError: the loss is no number any more.
    """
    classifier.requires_grad_(True)
    optimizer = torch.optim.AdamW(_groups(classifier, recipe.weight_decay), lr=0.0)
    generator = torch.Generator().manual_seed(recipe.seed)
    val_logits = predict(classifier, val.ids, path_of, preprocessing)
    records = [_record(0, math.nan, val_logits, val.y)]
    best, best_state = records[0], copy.deepcopy(classifier.state_dict())
    on_epoch(records[0])
    for epoch in range(1, recipe.epochs + 1):
        loss = _train_epoch(classifier, optimizer, train, path_of, preprocessing, recipe, epoch, generator)
        records.append(_record(epoch, loss, predict(classifier, val.ids, path_of, preprocessing), val.y))
        if not math.isfinite(loss + records[-1].val_loss):
            raise DataError(f"epoch {epoch}: the loss is no number any more; lower `finetune.learning_rate`")
        on_epoch(records[-1])
        if records[-1].val_loss < best.val_loss:
            best, best_state = records[-1], copy.deepcopy(classifier.state_dict())
        if epoch - best.epoch >= recipe.patience:
            break
    classifier.load_state_dict(best_state)
    return records


def predict(
    classifier: Classifier, ids: Sequence[str], path_of: PathOf, preprocessing: Preprocessing
) -> npt.NDArray[np.float32]:
    """Score images.

    Returns:
        logits, shape (n, c), float32.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    rows = []
    with torch.inference_mode():
        for _, images in decoded_batches(ids, path_of, preprocessing, PREDICTION_BATCH):
            rows.append(classifier(torch.from_numpy(images).to(device)).cpu().numpy())
    return np.concatenate(rows)


def finetune_from_files(
    head: Head,
    backbone: Mapping[str, Any],
    files: PipelineFiles,
    recipe: FinetuneRecipe,
    folder: Path,
    log: Callable[[int, dict[str, float]], None],
) -> tuple[Head, list[FinetuneEpoch]]:
    """Fine-tune with the pipeline's files; the trunk's weights go into `folder`, the head is given back.

    Args:
        head: the head fitted on the frozen features.
        backbone: the record of the weights those features came from.
        files: the images, their labels and splits, the bundled networks.
        recipe: how to train.
        folder: where backbone.safetensors goes.
        log: called after every epoch with its number and its metrics.
    """
    weights = weights_of(backbone, files.bundled)
    device = choose_device("auto")
    classifier = Classifier(load_trunk(weights), head_module(head)).to(device)
    table = read_splits(files.splits)
    sets = [_labelled(table[table["split"] == name], head.classes) for name in ("train", "val")]
    path_of = manifest_paths(read_manifest(files.manifest), files.images)
    records = finetune(classifier, sets[0], sets[1], path_of, weights.preprocessing, recipe, partial(_report, log))
    save_trunk(classifier.trunk, folder)
    return head_of(classifier.head, head), records


def predict_logits(folder: Path, ids: Sequence[str], path_of: PathOf, device: torch.device) -> npt.NDArray[np.float32]:
    """Score images with a fine-tuned model's folder.

    Returns:
        logits, shape (n, c), float32.
    Raises:
        DataError: the folder is not whole.
    """
    model, head = read_model(folder)
    preprocessing = preprocessing_from(model.backbone["preprocessing"])
    network = trunk_of(build_network(model.backbone["name"], 1000), model.backbone["layers"], model.backbone["pooling"])
    load_weights(network, read_tensors(folder / BACKBONE), str(folder / BACKBONE))
    classifier = Classifier(Normalised(network, preprocessing), head_module(head))
    classifier = classifier.to(device)
    return predict(classifier, ids, path_of, preprocessing)


def save_trunk(trunk: Normalised, folder: Path) -> None:
    """Write the trunk's weights, float32, as backbone.safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in trunk.network.state_dict().items()}
    with atomic_path(folder / BACKBONE) as temporary:
        save_file(tensors, temporary)


def _train_epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    train: LabelledImages,
    path_of: PathOf,
    preprocessing: Preprocessing,
    recipe: FinetuneRecipe,
    epoch: int,
    generator: torch.Generator,
) -> float:
    # No dropout, and batch-norm keeps the statistics it was pretrained with; gradients flow all the same.
    classifier.eval()
    device = next(classifier.parameters()).device
    order = torch.randperm(len(train.ids), generator=generator).tolist()
    num_steps = math.ceil(len(order) / recipe.batch_size)
    batches = decoded_batches([train.ids[row] for row in order], path_of, preprocessing, recipe.batch_size)
    total = 0.0
    with Progress(len(order), desc=f"finetune: epoch {epoch}/{recipe.epochs}", unit="images") as progress:
        for step, (ids, images) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(recipe, (epoch - 1) * num_steps + step, num_steps)
            y = torch.from_numpy(train.y[order[step * recipe.batch_size :][: len(ids)]]).to(device)
            total += _step(classifier, optimizer, torch.from_numpy(images).to(device), y, generator) * len(ids)
            progress.advance(len(ids))
    return total / len(order)


def _step(
    classifier: Classifier, optimizer: torch.optim.Optimizer, images: Tensor, y: Tensor, generator: torch.Generator
) -> float:
    views = (augment(images, images.shape[1], VIEWS, generator) * 255).round().to(torch.uint8)
    loss = functional.cross_entropy(classifier(views.permute(0, 2, 3, 1)), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _learning_rate(recipe: FinetuneRecipe, step: int, steps_per_epoch: int) -> float:
    """A linear rise over the first epoch, then half a cosine down to zero."""
    if step < steps_per_epoch:
        return recipe.learning_rate * (step + 1) / steps_per_epoch
    num_falling = max(1, (recipe.epochs - 1) * steps_per_epoch)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - steps_per_epoch) / num_falling))


def _groups(classifier: Classifier, weight_decay: float) -> list[dict[str, object]]:
    parameters = list(classifier.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _report(log: Callable[[int, dict[str, float]], None], record: FinetuneEpoch) -> None:
    metrics = {"val_loss": record.val_loss, "val_accuracy": record.val_accuracy}
    log(record.epoch, metrics if record.epoch == 0 else metrics | {"train_loss": record.train_loss})
    print(f"finetune: epoch {record.epoch}: val loss {record.val_loss:.4f}, val accuracy {record.val_accuracy:.1%}")


def _labelled(rows: pd.DataFrame, classes: Sequence[str]) -> LabelledImages:
    y = np.array([classes.index(label) for label in rows["label"]], dtype=np.int64)
    return LabelledImages(ids=rows["id"].tolist(), y=y)


def _record(
    epoch: int, train_loss: float, val_logits: npt.NDArray[np.float32], y: npt.NDArray[np.int64]
) -> FinetuneEpoch:
    logits = torch.from_numpy(val_logits)
    val_loss = functional.cross_entropy(logits, torch.from_numpy(y)).item()
    accuracy = float((val_logits.argmax(axis=1) == y).mean())
    return FinetuneEpoch(epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_accuracy=accuracy)
