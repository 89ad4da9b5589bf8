"""Fine-tuning on a cluster: workers share the parts of every step; what they do goes on after a worker is lost."""

import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
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
from stages.graft.storage.files import read_json, write_json
from stages.graft.training.checkpoint import saved_records
from stages.graft.training.finetune_loop import FinetuneEpoch
from stages.graft.training.finetune_task import FinetuneTask, checkpoint_path, train

MAX_FAILURES = 20
"""Workers that may be lost one after another; training goes on after its last whole epoch."""

SECONDS_BETWEEN_LOOKS = 1.0
"""At the state that the workers leave after every epoch."""

WRONG = "wrong.json"
"""What a worker leaves when it meets a mistake of the user's."""

Part = TypeVar("Part")
Result = TypeVar("Result")


class ClusterTrainer:
    """A cluster that fine-tunes a network."""

    def __init__(self, compute: ComputeParams) -> None:
        """Use the cluster that has been joined."""
        self._compute = compute

    def train(self, task: FinetuneTask, on_epoch: Callable[[FinetuneEpoch], None]) -> Path:
        """Train to the end, and give the file with the state that this left, in the store that all machines share.

        Args:
            task: what to train.
            on_epoch: called after every epoch.
        Raises:
            GraftError: the workers' own.
            DataError: too many workers were lost.
        """
        task = task.anywhere()
        state = ask_worker(partial(_state_of, task, torch.get_num_threads()), self._compute)
        reports = state.with_suffix(".ray")
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(state, done, on_epoch), daemon=True)
        watcher.start()
        try:
            self._fit(task, reports)
            wrong = read_json(reports / WRONG) if (reports / WRONG).exists() else None
        finally:
            done.set()
            watcher.join()
            shutil.rmtree(reports, ignore_errors=True)
        if wrong is not None:
            raise getattr(errors, wrong["kind"], GraftError)(wrong["what"])
        if not state.exists():
            raise DataError(f"the workers trained, but {state} is not here: the machines must share {state.parents[1]}")
        return state

    def _fit(self, task: FinetuneTask, reports: Path) -> None:
        train: Any = import_module("ray.train")
        trainer: Any = import_module("ray.train.torch").TorchTrainer
        room, parts, compute = num_workers(self._compute), task.recipe.accumulate, self._compute
        if room > parts:
            print(f"finetune: {parts} of {room} workers: a step has `finetune.accumulate` parts ({parts})")
        fitting = trainer(
            _train,
            train_loop_config={
                "task": task,
                "num_threads": torch.get_num_threads(),
                "num_cpus": compute.cpus_per_worker,
                "wrong": reports / WRONG,
            },
            scaling_config=train.ScalingConfig(
                num_workers=(1, min(room, parts)) if min(room, parts) > 1 else 1,
                use_gpu=compute.gpus_per_worker > 0,
                resources_per_worker=_resources(compute),
            ),
            run_config=train.RunConfig(
                name="reports",
                storage_path=str(reports),
                failure_config=train.FailureConfig(max_failures=MAX_FAILURES),
            ),
        )
        try:
            fitting.fit()
        except train.TrainingFailedError as error:
            reason = " ".join(str(error).split())[-300:]
            raise DataError(f"fine-tuning on the cluster failed: {reason}; the next run goes on from there") from None


class RayProcessGroup:
    """The workers of a run, as `teams.Team`: gradients of parts go to all of them, by gloo or nccl."""

    def __init__(self) -> None:
        """Count them."""
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def add_up(
        self, parameters: Iterable[nn.Parameter], parts: Sequence[Part], compute: Callable[[Part], Result]
    ) -> list[Result]:
        """As `Team.add_up`: a round for as many parts as there are workers."""
        trained, results = list(parameters), list[Result]()
        total: Tensor | None = None
        for first in range(0, len(parts), self.size):
            mine, others = first + self.rank, min(self.size, len(parts) - first)
            result = compute(parts[mine]) if mine < len(parts) else None
            results += [one for one in self.gather(result)[:others] if one is not None]
            for gradients in self._everyones(_taken(trained))[:others]:
                total = gradients if total is None else total.add_(gradients)
        if total is not None:
            _give(trained, total)
        return results

    def gather(self, mine: Result) -> list[Result]:
        """As `Team.gather`."""
        everyones: list[Any] = [None] * self.size
        distributed.all_gather_object(everyones, mine)
        return everyones

    def _everyones(self, mine: Tensor) -> list[Tensor]:
        everyones = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(everyones, mine)
        return everyones


def _taken(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The gradients in one row, and after them which there are; none are left."""
    there = torch.tensor([one.grad is not None for one in parameters], dtype=torch.float32, device=parameters[0].device)
    row = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    for one in parameters:
        one.grad = None
    return torch.cat([*(one.reshape(-1) for one in row), there])


def _give(parameters: Sequence[nn.Parameter], row: Tensor) -> None:
    """The inverse of `_taken`, laid out in memory as autograd does: sums over gradients depend on it."""
    sizes = [one.numel() for one in parameters]
    *gradients, there = torch.split(row, [*sizes, len(parameters)])
    for one, gradient, present in zip(parameters, gradients, there.tolist(), strict=True):
        one.grad = torch.empty_like(one).copy_(gradient.view(one.shape)) if present else None


def _state_of(task: FinetuneTask, num_threads: int) -> Path:
    torch.set_num_threads(num_threads)
    return checkpoint_path(task)


def _train(config: dict[str, Any]) -> None:
    """What every worker does."""
    limit_cpus(config["num_cpus"])
    torch.set_num_threads(config["num_threads"])  # bits depend on it
    if config["wrong"].exists():
        return  # the others were only lost with the worker that met it
    try:
        train(config["task"], RayProcessGroup())
    except GraftError as error:  # the user's to mend: no reason to try again
        write_json({"kind": type(error).__name__, "what": str(error)}, config["wrong"])


def _resources(compute: ComputeParams) -> dict[str, float]:
    gpus = {"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {}
    return {"CPU": compute.cpus_per_worker, **gpus}


def _watch(state: Path, done: threading.Event, on_epoch: Callable[[FinetuneEpoch], None]) -> None:
    """Tell of each epoch that the workers have put into the state."""
    num_told = 0
    while True:
        last = done.wait(SECONDS_BETWEEN_LOOKS)
        records = saved_records(state)
        for record in records[num_told:]:
            on_epoch(FinetuneEpoch(**record))
        num_told = max(num_told, len(records))
        if last:
            return
