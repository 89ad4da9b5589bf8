"""Fine-tuning on a cluster: workers share the parts of every step, and training continues after a worker is lost."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from stages.graft.compute.ray_cluster import ask_worker, num_workers
from stages.graft.compute.settings import ComputeParams
from stages.graft.core import errors
from stages.graft.core.errors import DataError, GraftError
from stages.graft.core.threads import limit_cpus
from stages.graft.metrics.training_curve import Epoch
from stages.graft.storage.files import read_json, write_json
from stages.graft.storage.sealed import named_files
from stages.graft.training.checkpoint import read_epochs
from stages.graft.training.finetune_task import FinetuneTask, checkpoint_path, train

MAX_FAILURES = 20
"""Workers that may be lost in one training; it continues after its last complete epoch."""

SECONDS_BETWEEN_READS = 1.0
"""Interval at which the checkpoint, which the workers write after every epoch, is read."""

USER_ERROR = "error.json"
"""File with the user's error that a worker met."""

Part = TypeVar("Part")
Result = TypeVar("Result")


class ClusterTrainer:
    """Fine-tunes a network on a cluster."""

    def __init__(self, compute: ComputeParams) -> None:
        """Use the cluster, which has been joined."""
        self._compute = compute

    def train(self, task: FinetuneTask, on_epoch: Callable[[Epoch], None]) -> Path:
        """Train to the end, call back after every epoch, and give the checkpoint in the store that all machines share.

        Raises:
            GraftError: the first error of a worker.
            DataError: too many workers were lost, or the machines do not share the store.
        """
        task = task.with_absolute_paths()
        checkpoint = ask_worker(partial(_checkpoint_path, task, torch.get_num_threads()), self._compute)
        reports = checkpoint.with_suffix(".ray")
        try:
            with _watch(checkpoint, on_epoch):
                self._fit(task, reports)
            error = read_json(reports / USER_ERROR) if (reports / USER_ERROR).exists() else None
        finally:
            shutil.rmtree(reports, ignore_errors=True)
        if error is not None:
            raise getattr(errors, error["kind"], GraftError)(error["message"])
        if not named_files(checkpoint):
            store = checkpoint.parents[1]
            raise DataError(f"the workers trained, but {checkpoint} does not exist: the machines must share {store}")
        return checkpoint

    def _fit(self, task: FinetuneTask, reports: Path) -> None:
        train: Any = import_module("ray.train")
        torch_trainer: Any = import_module("ray.train.torch").TorchTrainer
        available, parts, compute = num_workers(self._compute), task.params.accumulate, self._compute
        if available > parts:
            print(f"finetune: {parts} of {available} workers: a step has `finetune.accumulate` parts ({parts})")
        workers = min(available, parts)
        gpus = {"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {}
        trainer = torch_trainer(
            _train,
            train_loop_config={
                "task": task,
                "num_threads": torch.get_num_threads(),
                "num_cpus": compute.cpus_per_worker,
                "error_file": reports / USER_ERROR,
            },
            scaling_config=train.ScalingConfig(
                num_workers=(1, workers) if workers > 1 else 1,
                use_gpu=compute.gpus_per_worker > 0,
                resources_per_worker={"CPU": compute.cpus_per_worker, **gpus},
            ),
            run_config=train.RunConfig(
                name="reports", storage_path=str(reports), failure_config=train.FailureConfig(max_failures=MAX_FAILURES)
            ),
        )
        try:
            trainer.fit()
        except train.TrainingFailedError as error:
            reason = " ".join(str(error).split())[-300:]
            raise DataError(f"fine-tuning on the cluster failed: {reason}; the next run goes on from there") from None


class RayProcessGroup:
    """The workers of a training as a `ProcessGroup`: they exchange the gradients of parts by gloo or nccl."""

    def __init__(self) -> None:
        """Read the rank and the number of the workers."""
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def compute_parts(
        self, parameters: Iterable[nn.Parameter], parts: Sequence[Part], compute: Callable[[Part], Result]
    ) -> list[Result]:
        """As `ProcessGroup.compute_parts`, in rounds of as many parts as there are workers."""
        trained, results = list(parameters), list[Result]()
        total: Tensor | None = None
        for first in range(0, len(parts), self.size):
            own, num_busy = first + self.rank, min(self.size, len(parts) - first)
            own_result = compute(parts[own]) if own < len(parts) else None
            results += [result for result in self.gather(own_result)[:num_busy] if result is not None]
            for gradients in self._gather_tensors(_take_gradients(trained))[:num_busy]:
                total = gradients if total is None else total.add_(gradients)
        if total is not None:
            _set_gradients(trained, total)
        return results

    def gather(self, value: Result) -> list[Result]:
        """As `ProcessGroup.gather`."""
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def _gather_tensors(self, own: Tensor) -> list[Tensor]:
        values = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(values, own)
        return values


def _take_gradients(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Remove the gradients and give them as one row, with 1 or 0 for each parameter after them: has it a gradient?"""
    gradients = [parameter.grad for parameter in parameters]
    has_gradient = torch.tensor([float(gradient is not None) for gradient in gradients], device=parameters[0].device)
    row = [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    for parameter in parameters:
        parameter.grad = None
    return torch.cat([*(values.reshape(-1) for values in row), has_gradient])


def _set_gradients(parameters: Sequence[nn.Parameter], row: Tensor) -> None:
    """The inverse of `_take_gradients`, with autograd's memory layout, on which sums over gradients depend."""
    sizes = [parameter.numel() for parameter in parameters]
    *gradients, has_gradient = torch.split(row, [*sizes, len(parameters)])
    for parameter, gradient, is_present in zip(parameters, gradients, has_gradient.tolist(), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(gradient.view(parameter.shape)) if is_present else None


def _checkpoint_path(task: FinetuneTask, num_threads: int) -> Path:
    torch.set_num_threads(num_threads)
    return checkpoint_path(task)


def _train(config: dict[str, Any]) -> None:
    """The work of each worker."""
    limit_cpus(config["num_cpus"])
    torch.set_num_threads(config["num_threads"])  # results depend on it
    if config["error_file"].exists():
        return  # a worker met a user's error, and Ray restarts them all
    try:
        train(config["task"], RayProcessGroup())
    except GraftError as error:  # the user must correct it: no second try
        write_json({"kind": type(error).__name__, "message": str(error)}, config["error_file"])


@contextmanager
def _watch(checkpoint: Path, on_epoch: Callable[[Epoch], None]) -> Iterator[None]:
    """Call back for each epoch that the workers add to the checkpoint, from a thread."""
    done = threading.Event()

    def watch() -> None:
        num_reported, is_last = 0, False
        while not is_last:
            is_last = done.wait(SECONDS_BETWEEN_READS)
            epochs = read_epochs(checkpoint)
            for epoch in epochs[num_reported:]:
                on_epoch(epoch)
            num_reported = max(num_reported, len(epochs))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
