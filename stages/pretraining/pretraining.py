"""Train a network from scratch on a large labelled set, so that others can start from it.

n images, c classes. SGD with Nesterov momentum under one warm-up and cosine cycle, views that grow over the epochs.
On the same processor and thread count a killed run, resumed, ends with the bytes of an uninterrupted one.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.backbone.architectures import build_network
from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.data.decoded_arrays import PackedImages
from stages.graft.metrics.training_curve import Epoch
from stages.graft.storage.arrays import METADATA_KEY, read_metadata
from stages.graft.storage.files import atomic_path
from stages.pretraining.batch_augmentation import Augmentation, augment
from stages.pretraining.network_setup import normalise, zero_residuals

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines the trained weights, beside the images."""

    architecture: str
    """A torchvision classification network."""
    epochs: int
    """Passes over the training images."""
    sizes_px: tuple[int, ...]
    """Side of the views, in pixels; the epochs are divided evenly among them, in order."""
    validation_px: int
    """Side validation images are scaled to, in pixels."""
    batch_size: int
    """Images a step; the short last batch of an epoch is left out, its images come in the next epoch's order."""
    learning_rate: float
    """Peak of the cycle."""
    warmup: float
    """Part of all steps in which the rate rises linearly, [0, 1)."""
    momentum: float
    """Nesterov momentum, [0, 1)."""
    weight_decay: float
    """On weights with two or more dimensions; biases and normalisation are left alone."""
    label_smoothing: float
    """Probability spread over all classes, [0, 1)."""
    mixed_precision: bool
    """bf16 autocast where the hardware has it; networks of depthwise convolutions train faster without on a CPU."""
    seed: int
    """Seeds the weights, the order and the views."""
    augmentation: Augmentation
    """How far a view may stray from its image."""

    @property
    def key(self) -> str:
        """Short hash that differs when any field does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class EpochRecord(Epoch):
    """Results of one epoch."""

    size_px: int
    """Side of the training views, in pixels."""


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """What to train on and what to score on."""

    train: tuple[Images, Labels]
    """Images (n, h, w, 3) uint8, and class indices (n,) int64."""
    val: tuple[Images, Labels]
    """The same, to score every epoch; chooses nothing."""
    num_classes: int
    """c."""
    digest: str
    """SHA-256 of the pixels and labels trained on, hex."""


def source_images(train: PackedImages, val: PackedImages) -> TrainingImages:
    """Put training and validation images together.

    Raises:
        DataError: they do not have the same classes.
    """
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise DataError(f"training and validation differ in {len(odd)} classes (first: {odd[0]}); give both the same")
    return TrainingImages(
        train=(train.x, train.y), val=(val.x, val.y), num_classes=len(train.classes), digest=train.digest
    )


def print_epoch(record: EpochRecord) -> None:
    """One line on stderr for a finished epoch."""
    print(
        f"epoch {record.epoch} ({record.size_px} px): train loss {record.train_loss:.3f}, "
        f"val loss {record.val_loss:.3f}, val top-1 {record.val_accuracy:.1%}",
        file=sys.stderr,
        flush=True,
    )


def pretrain(
    images: TrainingImages,
    recipe: Recipe,
    checkpoints: Path,
    on_epoch: Callable[[EpochRecord], None],
) -> tuple[nn.Module, list[EpochRecord]]:
    """Train until the last epoch, or go on where the same recipe on the same images stopped.

    Args:
        images: what to train and score on.
        recipe: what to train and how.
        checkpoints: folder of the states after the latest epoch, one file for each recipe and set of images; a
            finished one is left, so that asking again costs seconds.
        on_epoch: called after every epoch, with the checkpoint already written.
    Returns:
        The trained network in evaluation mode, and the record of every epoch.
    Raises:
        DataError: fewer images than one batch, or the loss is no number any more.
    """
    if len(images.train[0]) < recipe.batch_size:
        raise DataError(f"{len(images.train[0])} training images are fewer than one batch of {recipe.batch_size}")
    torch.manual_seed(recipe.seed)  # torchvision draws the first weights from the global generator
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_network(recipe.architecture, images.num_classes)
    zero_residuals(network)
    network = network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(_groups(network, recipe), lr=0.0, momentum=recipe.momentum, nesterov=True)
    checkpoint = checkpoints / f"{recipe.key}-{images.digest[:16]}.safetensors"
    records = _load_checkpoint(checkpoint, network, optimizer)
    num_images = len(images.train[0]) // recipe.batch_size * recipe.batch_size
    total, done = recipe.epochs * num_images, len(records) * num_images
    with Progress(total, desc=f"pretrain {recipe.architecture}", unit="images", done=done) as progress:
        for epoch in range(len(records) + 1, recipe.epochs + 1):
            train_loss = _train_epoch(network, optimizer, images.train, recipe, epoch, progress)
            val_loss, val_accuracy = score(network, images.val, recipe.validation_px)
            record = EpochRecord(
                epoch=epoch,
                size_px=_size_px(recipe, epoch),
                train_loss=train_loss,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
            )
            records.append(record)
            _save_checkpoint(checkpoint, network, optimizer, records)
            on_epoch(record)
    return network.eval(), records


def scaled(images: Images, size_px: int, device: torch.device) -> Tensor:
    """Whole images as the network's input: shape (n, 3, size_px, size_px), float32, normalised."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
    x = functional.interpolate(x, (size_px, size_px), mode="bilinear", antialias=True)
    return normalise(x).contiguous(memory_format=torch.channels_last)


def score(network: nn.Module, val: tuple[Images, Labels], size_px: int, batch_size: int = 250) -> tuple[float, float]:
    """Mean cross-entropy in nats and top-1 accuracy of a network on images scaled to `size_px`."""
    network.eval()
    losses, hits = 0.0, 0
    device = next(network.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(val[0]), batch_size):
            y = torch.from_numpy(val[1][start : start + batch_size]).to(device)
            with autocast(device):
                logits = network(scaled(val[0][start : start + batch_size], size_px, device))
            losses += functional.cross_entropy(logits.float(), y, reduction="sum").item()
            hits += int((logits.argmax(dim=1) == y).sum())
    return losses / len(val[0]), hits / len(val[0])


def autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """bf16 autocast where the hardware has it: AVX512-BF16 or AMX processors, Ampere GPUs and later."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted and has_bf16)


def learning_rate(recipe: Recipe, step: int, num_steps: int) -> float:
    """Rate of one step (counted from 0): a linear rise to the peak, then half a cosine down to zero."""
    num_rising = recipe.warmup * num_steps
    if step < num_rising:
        return recipe.learning_rate * (step + 1) / num_rising
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - num_rising) / (num_steps - num_rising)))


def _train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: tuple[Images, Labels],
    recipe: Recipe,
    epoch: int,
    progress: Progress,
) -> float:
    network.train()
    device = next(network.parameters()).device
    steps_per_epoch = len(train[0]) // recipe.batch_size
    num_steps, first = steps_per_epoch * recipe.epochs, steps_per_epoch * (epoch - 1)
    losses = []
    for step, (x, y) in enumerate(_batches(train, recipe, epoch, device), start=first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, num_steps)
        with autocast(device, recipe.mixed_precision):
            loss = functional.cross_entropy(network(x), y, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        progress.advance(recipe.batch_size)
    if not math.isfinite(losses[-1]):
        raise DataError(f"epoch {epoch}: the loss is {losses[-1]}; lower `pretrain.learning_rate`")
    return sum(losses) / len(losses)


def _batches(
    train: tuple[Images, Labels], recipe: Recipe, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch's order and views depend on the seed and the epoch alone, so a resumed run sees the same ones."""
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    order = torch.randperm(len(train[0]), generator=generator).numpy()
    for start in range(0, len(order) - recipe.batch_size + 1, recipe.batch_size):
        rows = np.sort(order[start : start + recipe.batch_size])  # sorted: a memory-mapped file is read forwards
        images = torch.from_numpy(train[0][rows]).to(device)
        views = augment(images, _size_px(recipe, epoch), recipe.augmentation, generator)
        yield normalise(views), torch.from_numpy(train[1][rows]).to(device)


def _size_px(recipe: Recipe, epoch: int) -> int:
    return recipe.sizes_px[(epoch - 1) * len(recipe.sizes_px) // recipe.epochs]


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, records: list[EpochRecord]
) -> None:
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        tensors[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    metadata = {METADATA_KEY: json.dumps({"records": [asdict(record) for record in records]})}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _load_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> list[EpochRecord]:
    if not path.exists():
        return []
    tensors = load_file(path)
    network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
    for name, parameter in network.named_parameters():
        # A copy in the parameter's own memory layout: channels-last momentum gives the same bits as before the kill.
        optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(tensors[f"momentum.{name}"])
    return [EpochRecord(**record) for record in read_metadata(path)["records"]]
