"""Train a network from scratch on a large labelled set, so that others can start from it.

n images, c classes. SGD with Nesterov momentum under one warm-up and cosine cycle, views that grow over the epochs.
On the same processor and thread count a killed run, resumed, ends with the bytes of an uninterrupted one.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.backbone.architectures import build_network
from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.data.decoded_arrays import DecodedImages
from stages.graft.images.decode import Batch
from stages.graft.metrics.training_curve import Epoch
from stages.graft.storage.arrays import METADATA_KEY, read_metadata
from stages.graft.storage.sealed import find_named, write_named
from stages.pretraining.batch_augmentation import ViewParams, augment
from stages.pretraining.network_setup import normalise, zero_residuals

SCORE_BATCH = 250
"""Images that are scored at once."""


class PretrainParams(ViewParams):
    """The section `pretrain` of data/backbones/params.yaml."""

    name: str
    """Torchvision classification network; also the file name of the product, and `backbone.name` of its users."""
    source: str
    """Images to train on: a class folder, an archive of one, or a folder of such archives."""
    validation: str
    """Images of the same classes to score on, never trained on; of the same kinds."""
    image_px: PositiveInt
    """Side that images are decoded to, in pixels."""
    input_px: PositiveInt
    """Side of the images whose features are wanted, in pixels; recorded for users, training does not depend on it."""
    layers: tuple[str, ...] = Field(min_length=1)
    """Layers whose output the features are: `penultimate`, or inner nodes of the network; recorded for users."""
    pooling: Literal["avg", "avg+std"]
    """How a map of an inner node becomes numbers; recorded for users."""
    epochs: PositiveInt
    """Passes over the training images."""
    sizes_px: tuple[PositiveInt, ...] = Field(min_length=1)
    """Side of the training views, in pixels; the epochs are divided evenly among them, in order."""
    validation_px: PositiveInt
    """Side that validation images are scaled to, in pixels."""
    batch_size: PositiveInt
    """Images a step; the short last batch of an epoch is left out, the next epoch has another order."""
    learning_rate: PositiveFloat
    """Peak of the cycle."""
    warmup: float = Field(ge=0, lt=1)
    """Part of all steps in which the rate rises linearly."""
    momentum: float = Field(ge=0, lt=1)
    """Nesterov momentum."""
    weight_decay: float = Field(ge=0)
    """On weights with two or more dimensions; biases and normalisation have none."""
    label_smoothing: float = Field(ge=0, lt=1)
    """Probability spread over all classes; kept small, since it hurts frozen features."""
    mixed_precision: bool
    """bf16 where the hardware has it; on a CPU, networks of depthwise convolutions train faster in fp32."""
    seed: int = Field(ge=0)
    """Seeds the weights, the order and the views."""

    @property
    def key(self) -> str:
        """Short hash that differs when a parameter that determines the weights does."""
        trained = self.model_dump_json(exclude={"source", "validation", "input_px", "layers", "pooling"})
        return hashlib.sha256(trained.encode()).hexdigest()[:16]

    def size_px(self, epoch: int) -> int:
        """Side of the views of an epoch, in pixels; epochs count from 1."""
        return self.sizes_px[(epoch - 1) * len(self.sizes_px) // self.epochs]

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Rate of one step (counted from 0): a linear rise to the peak, then half a cosine down to zero."""
        num_rising = self.warmup * num_steps
        if step < num_rising:
            return self.learning_rate * (step + 1) / num_rising
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - num_rising) / (num_steps - num_rising)))


@dataclass(frozen=True, kw_only=True)
class EpochRecord(Epoch):
    """Results of one epoch."""

    size_px: int
    """Side of the training views, in pixels."""


def print_epoch(record: EpochRecord) -> None:
    """Print a finished epoch on stderr, in one line."""
    print(
        f"epoch {record.epoch} ({record.size_px} px): train loss {record.train_loss:.3f}, "
        f"val loss {record.val_loss:.3f}, val top-1 {record.val_accuracy:.1%}",
        file=sys.stderr,
        flush=True,
    )


def pretrain(
    train: DecodedImages, val: DecodedImages, params: PretrainParams, checkpoints: Path
) -> tuple[nn.Module, list[EpochRecord]]:
    """Train until the last epoch, or go on where the same training on the same images stopped.

    Args:
        train: images to train on.
        val: images to score every epoch; they choose nothing.
        params: what to train and how.
        checkpoints: folder of the states after the latest epoch, one file for each training and set of images; the
            file of a finished training stays, so that a second call takes seconds.
    Returns:
        The trained network in evaluation mode, and the record of every epoch.
    Raises:
        DataError: the classes differ, there are fewer images than one batch, or the loss is not finite any more.
    """
    _check_images(train, val, params.batch_size)
    state = _new_training(params, len(train.classes))
    checkpoint = checkpoints / f"{params.key}-{train.digest[:16]}.safetensors"
    if (found := find_named(checkpoint)) is not None:
        _load_checkpoint(found, state)
    num_images = len(train.x) // params.batch_size * params.batch_size
    total, done = params.epochs * num_images, len(state.records) * num_images
    with Progress(total, desc=f"pretrain {params.name}", unit="images", done=done) as progress:
        for epoch in range(len(state.records) + 1, params.epochs + 1):
            train_loss = _train_epoch(state, train, params, epoch, progress)
            val_loss, val_accuracy = score(state.network, val, params.validation_px)
            record = EpochRecord(
                epoch=epoch,
                size_px=params.size_px(epoch),
                train_loss=train_loss,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
            )
            state.records.append(record)
            _save_checkpoint(checkpoint, state)
            print_epoch(record)
    return state.network.eval(), state.records


def score(network: nn.Module, images: DecodedImages, size_px: int) -> tuple[float, float]:
    """Score a network on images scaled to `size_px`.

    Returns:
        Mean cross-entropy in nats, and top-1 accuracy.
    """
    network.eval()
    loss, num_right = 0.0, 0
    device = next(network.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(images.x), SCORE_BATCH):
            y = torch.from_numpy(images.y[start : start + SCORE_BATCH]).to(device)
            with _autocast(device):
                logits = network(_scaled(images.x[start : start + SCORE_BATCH], size_px, device))
            loss += functional.cross_entropy(logits.float(), y, reduction="sum").item()
            num_right += int((logits.argmax(dim=1) == y).sum())
    return loss / len(images.x), num_right / len(images.x)


@dataclass(frozen=True, kw_only=True)
class _Training:
    """A training under way."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    records: list[EpochRecord]


def _check_images(train: DecodedImages, val: DecodedImages, batch_size: int) -> None:
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise DataError(f"training and validation differ in {len(odd)} classes (first: {odd[0]}); give both the same")
    if len(train.x) < batch_size:
        raise DataError(f"{len(train.x)} training images are fewer than one batch of {batch_size}")


def _new_training(params: PretrainParams, num_classes: int) -> _Training:
    torch.manual_seed(params.seed)  # torchvision draws the first weights from the global generator
    network = build_network(params.name, num_classes)
    zero_residuals(network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).to(memory_format=torch.channels_last)
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=params.momentum, nesterov=True)
    return _Training(network=network, optimizer=optimizer, records=[])


def _scaled(images: Batch, size_px: int, device: torch.device) -> Tensor:
    """Whole images as the network's input: shape (n, 3, size_px, size_px), float32, normalised."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
    x = functional.interpolate(x, (size_px, size_px), mode="bilinear", antialias=True)
    return normalise(x).contiguous(memory_format=torch.channels_last)


def _autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """bf16 autocast where the hardware has it: AVX512-BF16 or AMX processors, Ampere GPUs and later."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and has_bf16)


def _train_epoch(
    state: _Training, images: DecodedImages, params: PretrainParams, epoch: int, progress: Progress
) -> float:
    """Train one epoch and return its mean loss."""
    network, optimizer = state.network.train(), state.optimizer
    device = next(network.parameters()).device
    steps_per_epoch = len(images.x) // params.batch_size
    num_steps, first = steps_per_epoch * params.epochs, steps_per_epoch * (epoch - 1)
    losses = []
    for step, (x, y) in enumerate(_batches(images, params, epoch, device), start=first):
        for group in optimizer.param_groups:
            group["lr"] = params.learning_rate_at(step, num_steps)
        with _autocast(device, params.mixed_precision):
            loss = functional.cross_entropy(network(x), y, label_smoothing=params.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        progress.advance(params.batch_size)
    if not math.isfinite(losses[-1]):
        raise DataError(f"epoch {epoch}: the loss is {losses[-1]}; lower `pretrain.learning_rate`")
    return sum(losses) / len(losses)


def _batches(
    images: DecodedImages, params: PretrainParams, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Order and views depend on the seed and the epoch alone, so a resumed run sees the same ones."""
    generator = torch.Generator().manual_seed(params.seed * 100_003 + epoch)
    order = torch.randperm(len(images.x), generator=generator).numpy()
    for start in range(0, len(order) - params.batch_size + 1, params.batch_size):
        rows = np.sort(order[start : start + params.batch_size])  # sorted: a memory-mapped file is read forwards
        x = torch.from_numpy(images.x[rows]).to(device)
        views = augment(x, params.size_px(epoch), params, generator)
        yield normalise(views), torch.from_numpy(images.y[rows]).to(device)


def _save_checkpoint(path: Path, state: _Training) -> None:
    tensors = {f"network.{name}": value.contiguous() for name, value in state.network.state_dict().items()}
    for name, parameter in state.network.named_parameters():
        tensors[f"momentum.{name}"] = state.optimizer.state[parameter]["momentum_buffer"].contiguous()
    metadata = {METADATA_KEY: json.dumps({"records": [asdict(record) for record in state.records]})}
    write_named(path, partial(save_file, tensors, metadata=metadata))


def _load_checkpoint(path: Path, state: _Training) -> None:
    tensors = load_file(path)
    prefix = "network."
    state.network.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    for name, parameter in state.network.named_parameters():
        # A copy in the parameter's own memory layout: channels-last momentum gives the same bits as before the kill.
        momentum = torch.empty_like(parameter).copy_(tensors[f"momentum.{name}"])
        state.optimizer.state[parameter]["momentum_buffer"] = momentum
    state.records.extend(EpochRecord(**record) for record in read_metadata(path)["records"])
