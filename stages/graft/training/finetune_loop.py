"""Fine-tuning: train a pretrained backbone together with the head that was fitted on its frozen features.

Linear probe first, then fine-tune: the head starts with the weights of the stage train_head, because a random head
distorts the backbone (Kumar et al., ICLR 2022). Letters: n images, c classes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.heads.class_weights import ClassWeights, epoch_order
from stages.graft.heads.head import Float32
from stages.graft.metrics.classification import accuracy
from stages.graft.metrics.training_curve import Epoch
from stages.graft.model.classifier import Classifier
from stages.graft.training.activation_cache import Inputs, LabelledImages
from stages.graft.training.checkpoint import TrainingState
from stages.graft.training.finetune_params import FinetuneParams
from stages.graft.training.optimizer import average_weights, make_optimizer, make_scheduler, pull_to_start
from stages.graft.training.process_group import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """A network, and everything that is needed to train it."""

    network: Classifier
    """From `inputs` to logits; its parameters with gradients are trained."""
    depths: Mapping[str, int]
    """Number of blocks after each trained parameter's block, by name; 0 for the head."""
    inputs: Inputs
    """The network's inputs for each image."""
    train: LabelledImages
    """Images to train on."""
    val: LabelledImages
    """Images on which every epoch is measured; they choose nothing here."""
    class_weights: ClassWeights
    """Weight of each class in the training loss, shape (c,)."""
    params: FinetuneParams
    """The section `finetune`."""
    in_bf16: bool
    """Whether the forward and backward pass compute in bf16; weights, validation and test are fp32."""
    group: ProcessGroup = SINGLE_PROCESS
    """Processes that train the network together, each with the same setup."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Results of a training; the network has the averaged weights of its end."""

    epochs: list[Epoch]
    """Every epoch, from epoch 0: the head on the frozen backbone."""
    val_before: Float32
    """Logits of the validation images before training, shape (n, c)."""


def finetune(setup: TrainingSetup, checkpoint: Path | None, on_epoch: Callable[[Epoch], None]) -> Outcome:
    """Train a network in place for all epochs, and give it the average of its weights over the steps.

    A killed training resumes from the checkpoint's file, if it has one.

    Raises:
        DataError: the loss is not finite, or there is not enough memory.
    """
    setup.network.eval()  # no dropout, and batch-norm keeps its statistics; gradients are computed all the same
    with _out_of_memory(setup.params.batch_size):
        before = _score(setup, setup.network)
    loop = _Loop(setup, _validated(0, math.nan, before, setup.val), checkpoint)
    epochs = loop.state.epochs
    on_epoch(epochs[-1])
    while len(epochs) <= setup.params.epochs:
        loop.run_epoch(len(epochs))
        if checkpoint is not None and setup.group.rank == 0:
            loop.state.save(checkpoint)
        on_epoch(epochs[-1])
    loop.state.take_average()
    return Outcome(epochs=epochs, val_before=before)


class _Loop:
    """A training between two epochs."""

    def __init__(self, setup: TrainingSetup, start: Epoch, checkpoint: Path | None) -> None:
        self._setup, params = setup, setup.params
        self._trained = {name: value for name, value in setup.network.named_parameters() if value.requires_grad}
        self._pretrained = {
            name: value.detach().clone() for name, value in self._trained.items() if params.l2_sp and setup.depths[name]
        }
        self._device = next(setup.network.parameters()).device
        self._class_weights = torch.from_numpy(setup.class_weights).float().to(self._device)
        self._optimizer = make_optimizer(self._trained, setup.depths, params)
        average = average_weights(setup.network, params.ema_decay)
        self.state = TrainingState(setup.network, average, self._optimizer, start)
        if checkpoint is not None:
            self.state.resume(checkpoint)
        num_done = len(self.state.epochs) - 1
        if 0 < num_done < params.epochs:
            print(f"finetune: resuming after epoch {num_done}")
        order = epoch_order(setup.train.y, params.class_weight, params.seed, 1)
        steps_per_epoch = math.ceil(len(order) / params.batch_size)
        self._scheduler = make_scheduler(self._optimizer, params, steps_per_epoch, num_done)

    def run_epoch(self, number: int) -> None:
        """Train for one epoch, validate the averaged weights, and record the results."""
        with _interruptible(self._trained.values()):
            train_loss = self._train_epoch(number)
        epoch = _validated(number, train_loss, _score(self._setup, self.state.average), self._setup.val)
        if not math.isfinite(epoch.val_loss):
            raise _exploded(number)
        self.state.epochs.append(epoch)

    def _train_epoch(self, number: int) -> float:
        """Pass over the training images once, in an order given by seed and epoch; compute the mean loss."""
        train, params = self._setup.train, self._setup.params
        order = epoch_order(train.y, params.class_weight, params.seed, number)
        ids, y = [train.ids[row] for row in order], torch.from_numpy(train.y[order])
        view_number = number - 1 if params.num_views is None else (number - 1) % params.num_views
        total, num_correct, num_done = 0.0, 0, 0
        with Progress(len(ids), desc=f"finetune: epoch {number}/{params.epochs}", unit="images") as progress:
            for inputs in self._setup.inputs.batches(ids, view_number):
                targets = y[num_done : num_done + len(inputs[0])].to(self._device)
                loss, correct = self._backward(inputs, targets)
                if not math.isfinite(loss):
                    raise _exploded(number)
                self._step()
                total, num_correct = total + loss * len(targets), num_correct + correct
                num_done += len(targets)
                progress.note(f"loss {total / num_done:.3f}, accuracy {num_correct / num_done:.1%}")
                progress.advance(len(targets))
        return total / num_done

    def _step(self) -> None:
        """Change the weights by the gradients."""
        pull_to_start(self._trained, self._pretrained, self._setup.params.l2_sp)
        nn.utils.clip_grad_norm_(self._trained.values(), self._setup.params.clip_norm)
        self._optimizer.step()
        self._scheduler.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.state.average.update_parameters(self._setup.network)

    def _backward(self, inputs: tuple[Tensor, ...], y: Tensor) -> tuple[float, int]:
        """Compute the gradients of one step, in parts; return its loss and its number of correct images."""
        params = self._setup.params
        size, in_bf16 = math.ceil(len(y) / params.accumulate), self._setup.in_bf16

        def part(first: int) -> tuple[float, int]:
            targets = y[first : first + size]
            with torch.autocast(y.device.type, dtype=torch.bfloat16, enabled=in_bf16):
                logits = self._setup.network(*(tensor[first : first + size] for tensor in inputs)).float()
            loss = functional.cross_entropy(
                logits, targets, weight=self._class_weights, label_smoothing=params.label_smoothing, reduction="sum"
            ) / len(y)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item(), int((logits.argmax(dim=1) == targets).sum())

        with _out_of_memory(size):
            results = self._setup.group.compute_parts(self._trained.values(), range(0, len(y), size), part)
        return sum(loss for loss, _ in results), sum(correct for _, correct in results)


def _score(setup: TrainingSetup, network: nn.Module) -> Float32:
    """Compute the logits of the validation images as they are, without augmentation, shape (n, c).

    The processes take turns with the batches, which are the same for any number of processes.
    """
    ids, size, group = setup.val.ids, setup.params.batch_size, setup.group
    starts = range(0, len(ids), size)
    own_ids = [id_ for start in starts[group.rank :: group.size] for id_ in ids[start : start + size]]
    with torch.inference_mode():
        logits = [network(*inputs).float().cpu().numpy() for inputs in setup.inputs.batches(own_ids, None)]
    by_rank = group.gather(logits)
    return np.concatenate([by_rank[k % group.size][k // group.size] for k in range(len(starts))])


def _validated(number: int, train_loss: float, logits: Float32, val: LabelledImages) -> Epoch:
    """Measure an epoch on the validation images."""
    val_loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.y)).item()
    val_accuracy = accuracy(logits.argmax(axis=1), val.y)
    return Epoch(epoch=number, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)


@contextmanager
def _out_of_memory(num_images: int) -> Iterator[None]:
    """Turn a lack of memory into advice."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; on a CPU, only the message tells
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise DataError(
                f"out of memory with {num_images} images at a time; raise `finetune.accumulate` or lower "
                "`finetune.batch_size`; the last model is unchanged"
            ) from None
        raise


@contextmanager
def _interruptible(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let Ctrl-C end a backward pass, which is one call of many seconds for a large network.

    Python handles signals only while it runs Python code: these hooks run some after the gradient of every parameter.
    """
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda _: None)  # type: ignore[no-untyped-call]
        for parameter in parameters
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _exploded(epoch: int) -> DataError:
    return DataError(f"epoch {epoch}: the loss is not finite; lower `finetune.learning_rate`")
