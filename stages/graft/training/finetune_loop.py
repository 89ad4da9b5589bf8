"""Fine-tuning: go on training a pretrained trunk together with the head that was fitted on its frozen features.

Linear probe first, then fine-tune: the head starts where stage 4 left it, so that a random one does not distort the
trunk (Kumar et al., ICLR 2022). Letters: n images, c classes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.heads.class_weights import Balance, epoch_order, loss_weights
from stages.graft.training.activation_cache import LabelledImages, Source
from stages.graft.training.checkpoint import Training
from stages.graft.training.optimizer import Average, Optimizer, make_optimizer, pull_to_start, rate_at, set_rate
from stages.graft.training.process_group import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """How the trunk and the head go on."""

    optimizer: Optimizer
    """adamw or sgd."""
    learning_rate: float
    """Peak rate of the head."""
    layer_decay: float
    """The rate is multiplied by this for every block further from the head."""
    weight_decay: float
    """On weights with two or more dimensions."""
    warmup_epochs: int
    """Epochs over which the rate rises."""
    epochs: int
    """Passes over the training images, at most."""
    patience: int
    """Epochs without a lower validation log loss after which training ends."""
    batch_size: int
    """Images a step."""
    accumulate: int
    """Parts a step is computed in, to save memory."""
    clip_norm: float
    """Largest norm of a step's gradients; longer ones are shortened."""
    label_smoothing: float
    """Share of the target that is spread over all classes."""
    ema_decay: float
    """Of the average of the weights, which is what is validated and kept."""
    l2_sp: float
    """Pull towards the pretrained weights."""
    class_weight: Balance
    """How classes of different sizes are treated."""
    precision: Literal["auto", "fp32", "bf16"]
    """Of the forward and backward pass while training; weights, validation and test are fp32."""
    seed: int
    """Seeds the order and the views."""


@dataclass(frozen=True, kw_only=True)
class FinetuneEpoch:
    """One epoch's outcome; epoch 0 is the head on the frozen trunk."""

    epoch: int
    """Counted from 1; 0 before any step."""
    train_loss: float
    """Mean loss over the training views, in nats; NaN for epoch 0."""
    val_loss: float
    """Mean cross-entropy on validation, in nats."""
    val_accuracy: float
    """Top-1 accuracy on validation, [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training came to; the network holds the best epoch's weights."""

    records: list[FinetuneEpoch]
    """Epoch 0 first."""
    val_before: npt.NDArray[np.float32]
    """Logits of the validation images before training, shape (n, c)."""
    val_after: npt.NDArray[np.float32]
    """The same at the best epoch."""


def finetune(
    network: nn.Module,
    source: Source,
    train: LabelledImages,
    val: LabelledImages,
    recipe: FinetuneRecipe,
    depths: Mapping[str, int],
    view_of: Callable[[int], int],
    state: Path,
    on_epoch: Callable[[FinetuneEpoch], None],
    team: ProcessGroup = SINGLE_PROCESS,
) -> Outcome:
    """Train a network in place and leave the epoch of lowest validation log loss; epoch 0 counts too.

    Args:
        network: what `source` gives to logits; its parameters with gradients are trained.
        source: views of images, or activations of them.
        train, val: the images to learn from, and those that choose the epoch.
        recipe: how to train.
        depths: blocks above each trained parameter's own, by name; 0 for the head.
        view_of: the number of the view that an epoch uses.
        state: file that a killed run goes on from.
        on_epoch: called after every epoch.
        team: the processes that train the network together, each with the same arguments.
    Raises:
        DataError: the loss is no number any more, a class has no image, or memory runs out.
    """
    network.eval()  # no dropout, and batch-norm keeps its statistics; gradients flow all the same
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    scored = partial(score, source=source, ids=val.ids, batch_size=recipe.batch_size, team=team)
    with _out_of_memory(recipe.batch_size):
        before = scored(network)
    class_weights = loss_weights(train.y, before.shape[1], recipe.class_weight)
    weights = torch.from_numpy(class_weights).to(next(network.parameters()).device)
    training = _begin(network, trained, recipe, depths, _record(0, math.nan, before, val.y))
    start = {name: one.detach().clone() for name, one in trained.items() if recipe.l2_sp and depths[name] > 0}
    records = _records_so_far(training, state, recipe)
    on_epoch(records[-1])
    for epoch in range(len(records), recipe.epochs + 1):
        if epoch - 1 - _best(records).epoch >= recipe.patience:
            break
        with _interruptible(trained.values()):
            loss = _train_epoch(
                network, trained, training, source, train, recipe, start, weights, epoch, view_of(epoch), team
            )
        records.append(_record(epoch, loss, scored(training.average.network), val.y))
        _keep(training, records, state if team.rank == 0 else None)
        on_epoch(records[-1])
    training.leave_best()
    return Outcome(records=records, val_before=before, val_after=scored(network))


def _begin(
    network: nn.Module,
    trained: Mapping[str, nn.Parameter],
    recipe: FinetuneRecipe,
    depths: Mapping[str, int],
    record: FinetuneEpoch,
) -> Training:
    return Training(
        parameters=list(network.parameters()),
        optimizer=make_optimizer(recipe.optimizer, depths, trained, recipe.layer_decay, recipe.weight_decay),
        average=Average(network, recipe.ema_decay),
        best=[one.detach().clone() for one in network.parameters()],
        records=[asdict(record)],
    )


def _records_so_far(training: Training, state: Path, recipe: FinetuneRecipe) -> list[FinetuneEpoch]:
    """Go on from where a killed run was, if there is one."""
    if training.load(state) and len(training.records) <= recipe.epochs:
        print(f"finetune: going on after epoch {len(training.records) - 1}")
    return [FinetuneEpoch(**one) for one in training.records]


def _keep(training: Training, records: Sequence[FinetuneEpoch], state: Path | None) -> None:
    """Note the last epoch, and its weights where it is the best; in the file that a killed run goes on from, if any."""
    if not math.isfinite(records[-1].val_loss):
        raise _exploded(records[-1].epoch)
    if _best(records).epoch == records[-1].epoch:
        training.best = training.averaged()
    training.records = [asdict(one) for one in records]
    if state is not None:
        training.save(state)


def score(
    network: nn.Module, source: Source, ids: Sequence[str], batch_size: int, team: ProcessGroup = SINGLE_PROCESS
) -> npt.NDArray[np.float32]:
    """Score images as they are, not views of them; logits, shape (n, c), float32.

    A team takes turns with the batches, which are the same whatever its size.
    """
    starts = range(0, len(ids), batch_size)
    mine = [id_ for start in starts[team.rank :: team.size] for id_ in ids[start : start + batch_size]]
    with torch.inference_mode():
        logits = [network(*inputs).float().cpu().numpy() for inputs in source.batches(mine, None)]
    by_rank = team.gather(logits)
    return np.concatenate([by_rank[k % team.size][k // team.size] for k in range(len(starts))])


def _train_epoch(
    network: nn.Module,
    trained: Mapping[str, nn.Parameter],
    training: Training,
    source: Source,
    train: LabelledImages,
    recipe: FinetuneRecipe,
    start: Mapping[str, Tensor],
    weights: Tensor,
    epoch: int,
    view: int,
    team: ProcessGroup,
) -> float:
    """One pass in an order of its own, a function of seed and epoch; gives the mean loss."""
    order = epoch_order(train.y, recipe.class_weight, recipe.seed, epoch)
    num_steps = math.ceil(len(order) / recipe.batch_size)
    ids, y = [train.ids[row] for row in order], torch.from_numpy(train.y[order])
    total, right, done = 0.0, 0, 0
    with Progress(len(ids), desc=f"finetune: epoch {epoch}/{recipe.epochs}", unit="images") as progress:
        for step, inputs in enumerate(source.batches(ids, view)):
            targets = y[done : done + len(inputs[0])].to(weights.device)
            loss, correct = _backward(network, trained, inputs, targets, recipe, weights, team)
            if not math.isfinite(loss):
                raise _exploded(epoch)
            pull_to_start(trained, start, recipe.l2_sp)
            nn.utils.clip_grad_norm_(trained.values(), recipe.clip_norm)
            place = (epoch - 1) * num_steps + step
            rate = rate_at(place, recipe.learning_rate, recipe.epochs * num_steps, recipe.warmup_epochs * num_steps)
            set_rate(training.optimizer, rate)
            training.optimizer.step()
            training.optimizer.zero_grad(set_to_none=True)
            training.average.update(network)
            total, right, done = total + loss * len(targets), right + correct, done + len(targets)
            progress.note(f"loss {total / done:.3f}, accuracy {right / done:.1%}")
            progress.advance(len(targets))
    return total / done


def _backward(
    network: nn.Module,
    trained: Mapping[str, nn.Parameter],
    inputs: tuple[Tensor, ...],
    y: Tensor,
    recipe: FinetuneRecipe,
    weights: Tensor,
    team: ProcessGroup,
) -> tuple[float, int]:
    """Gradients of one step, in parts; gives its loss and how many images it has right."""
    size, in_bf16 = math.ceil(len(y) / recipe.accumulate), trains_in_bf16(recipe.precision, y.device)

    def part(first: int) -> tuple[float, int]:
        targets = y[first : first + size]
        with torch.autocast(y.device.type, dtype=torch.bfloat16, enabled=in_bf16):
            logits = network(*(one[first : first + size] for one in inputs)).float()
        loss = functional.cross_entropy(
            logits, targets, weight=weights, label_smoothing=recipe.label_smoothing, reduction="sum"
        ) / len(y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), int((logits.argmax(dim=1) == targets).sum())

    with _out_of_memory(size):
        results = team.add_up(trained.values(), range(0, len(y), size), part)
    return sum(loss for loss, _ in results), sum(right for _, right in results)


@contextmanager
def _out_of_memory(num_images: int) -> Iterator[None]:
    """Turn running out of memory into advice."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; on a CPU, the message alone tells
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise DataError(
                f"out of memory with {num_images} images at a time; raise `finetune.accumulate` or lower "
                "`finetune.batch_size`; the last model is as it was"
            ) from None
        raise


@contextmanager
def _interruptible(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let Ctrl-C end a backward pass, which is one call of many seconds for a large network.

    Python looks for signals when it runs Python: now it does so after the gradient of every parameter.
    """
    handles = [
        one.register_post_accumulate_grad_hook(lambda _: None)  # type: ignore[no-untyped-call]
        for one in parameters
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def trains_in_bf16(precision: str, device: torch.device) -> bool:
    """Say whether a precision means bf16 on a device; auto does where the processor computes in it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16", False) or able.get("avx512_bf16", False))


def _best(records: Sequence[FinetuneEpoch]) -> FinetuneEpoch:
    return min(records, key=lambda record: record.val_loss)


def _exploded(epoch: int) -> DataError:
    return DataError(f"epoch {epoch}: the loss is no number any more; lower `finetune.learning_rate`")


def _record(
    epoch: int, train_loss: float, val_logits: npt.NDArray[np.float32], y: npt.NDArray[np.int64]
) -> FinetuneEpoch:
    logits = torch.from_numpy(val_logits)
    val_loss = functional.cross_entropy(logits, torch.from_numpy(y)).item()
    accuracy = float((val_logits.argmax(axis=1) == y).mean())
    return FinetuneEpoch(epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_accuracy=accuracy)
