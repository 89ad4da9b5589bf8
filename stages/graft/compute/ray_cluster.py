"""A Ray cluster at work: chunks of a task given to workers that load what they need once; a lost worker loses nothing.

The modules `cluster…` alone import Ray, and only once a cluster is asked for.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

from stages.graft.compute.settings import AUTO, NEW, ComputeParams
from stages.graft.core import errors
from stages.graft.core.errors import GraftError, ParamsError
from stages.graft.core.threads import limit_cpus

SECONDS_TO_ANSWER = 5.0
"""How long the head may take; Ray itself would wait for minutes."""

BYTES_OF_OBJECTS = 256 * 2**20
"""Memory that a cluster of this machine alone sets aside: chunks are names and numbers."""

NUM_AHEAD = 2
"""Chunks a worker holds: one in work, one waiting, so that a slow worker keeps few from the others."""

CHUNKS_PER_WORKER = 16
"""The last chunks end at different times: a sixteenth of a worker's share is lost to that at most."""

Item = Mapping[str, Sequence[str]]
"""A chunk: names of equal length, such as ids and paths."""

Work = Callable[[Item], Mapping[str, Any]]
"""What a worker does with a chunk; the reply is JSON."""

T = TypeVar("T")


@contextmanager
def join_cluster(compute: ComputeParams) -> Iterator[None]:
    """Be part of the cluster that the parameters name, or start one.

    Raises:
        ParamsError: Ray is not installed, there is no such cluster, or none of its machines has room for a worker.
    """
    _quieten()
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise ParamsError(
            '`compute.engine` is ray, but Ray is not installed: `pip install "ray[data,train]"`, or set it to local'
        ) from None
    _check_address(compute.address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, compute.address)
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own would end a stage without its last line
        num_workers(compute)
        yield
    finally:
        ray.shutdown()


def num_workers(compute: ComputeParams) -> int:
    """Count the workers: as many as asked for, and as the cluster has room for.

    Raises:
        ParamsError: there is room for none.
    """
    ray: Any = import_module("ray")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_room(node, compute) for node in nodes)
    if not room:
        found = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ParamsError(
            f"`compute`: no machine of the cluster has {compute.cpus_per_worker} CPUs and "
            f"{compute.gpus_per_worker:g} GPUs for a worker; they have {found}"
        )
    return min(room, compute.workers or room)


def chunk_size(num_items: int, batch_size: int, compute: ComputeParams, most: int) -> int:
    """Choose how many items a worker is given at once: whole batches, several for each worker.

    Args:
        num_items: in all.
        batch_size: computed together.
        compute: how many workers there may be.
        most: unless a worker's processors need more batches to be busy.
    """
    share = -(-num_items // (num_workers(compute) * CHUNKS_PER_WORKER))
    least = batch_size * compute.cpus_per_worker
    return max(least, -(-min(share, most) // batch_size) * batch_size)


def ask_worker(question: Callable[[], T], compute: ComputeParams) -> T:
    """Have one worker answer a question.

    Raises:
        GraftError: the worker's own.
    """
    ray: Any = import_module("ray")
    task = ray.remote(_answer).options(num_cpus=compute.cpus_per_worker, num_gpus=compute.gpus_per_worker)
    try:
        answer: T = ray.get(task.remote(question))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, GraftError):
            raise error.cause from None
        raise
    return answer


def map_chunks(make: Callable[[], Work], items: Sequence[Item], compute: ComputeParams) -> Iterator[dict[str, Any]]:
    """Give the workers chunks and yield their replies, in the order of the chunks.

    A worker that is lost, or its machine, is replaced where there is room, and its chunks are done again: work must
    bear being done twice.

    Args:
        make: called once by each worker, before its first chunk.
        items: the chunks.
        compute: how many workers, and what each takes.
    Raises:
        GraftError: the first that a worker met.
    """
    data: Any = import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # not before: its import sets it
    context = data.DataContext.get_current()
    context.enable_progress_bars = False  # ours is shown
    context.execution_options.preserve_order = True
    rows = [{"item": json.dumps(item)} for item in items]  # text: a file's name need not be valid UTF-8
    workers = min(num_workers(compute), len(rows))
    replies = data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(make, compute.cpus_per_worker),
        compute=data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=NUM_AHEAD),
        num_cpus=compute.cpus_per_worker,
        num_gpus=compute.gpus_per_worker or None,
    )
    for row in replies.iter_rows():
        if row["kind"]:
            raise getattr(errors, row["kind"], GraftError)(row["reply"])
        yield json.loads(row["reply"])


def _answer(question: Callable[[], T]) -> T:
    return question()


class _Worker:
    """An actor: one process of the cluster."""

    def __init__(self, make: Callable[[], Work], num_cpus: int) -> None:
        limit_cpus(num_cpus)
        self._make, self._work = make, cast("Work | None", None)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        try:
            self._work = self._work or self._make()  # here and not before: an actor that fails to start says little
            return {"kind": "", "reply": json.dumps(self._work(json.loads(row["item"])))}
        except GraftError as error:
            return {"kind": type(error).__name__, "reply": str(error)}


def _quieten() -> None:
    """Keep Ray from reporting its use, from its dashboard, and from talking where our own lines are."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }


def _init(ray: Any, address: str) -> None:
    package = Path(errors.__file__).parents[2]
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Every worker runs this machine's code, and finds what it shares under this machine's paths.
        "runtime_env": {"py_modules": [str(package)]},
    }
    if address == NEW:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": BYTES_OF_OBJECTS}
    else:
        options["address"] = address
    try:
        with warnings.catch_warnings(), _unheard():
            warnings.simplefilter("ignore")
            ray.init(**options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise ParamsError(_why_not(address, error)) from None


@contextmanager
def _unheard() -> Iterator[None]:
    """Drop what is written to stderr past Python: Ray's core says there that it has been told to be quiet."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _why_not(address: str, error: Exception) -> str:
    if address == AUTO and isinstance(error, ConnectionError):
        return (
            "`compute.address` is auto, but this machine has joined no Ray cluster; join one with "
            "`ray start --address=HOST:PORT`, or set it to new (this machine alone), or `compute.engine` to local"
        )
    return f"`compute.address` {address}: {' '.join(str(error).split())[:200]}"


def _check_address(address: str) -> None:
    """See whether anyone is there before Ray begins to wait."""
    if address in (AUTO, NEW):
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER):
            return
    except (OSError, OverflowError) as error:
        raise ParamsError(
            f"`compute.address`: no Ray cluster answers at {address} ({error}); start one there with "
            f"`ray start --head --port={port}`, or set `compute.engine: local`"
        ) from None


def _room(node: Mapping[str, float], compute: ComputeParams) -> int:
    room = node.get("CPU", 0) // compute.cpus_per_worker
    if compute.gpus_per_worker:
        room = min(room, node.get("GPU", 0) // compute.gpus_per_worker)
    return int(room)
