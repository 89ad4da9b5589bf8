"""A Ray cluster: workers load what they need once and take chunks of the work; the chunks of a lost worker are redone.

Only the modules `ray_…` import Ray, and only after a cluster was chosen.
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

import psutil

from stages.graft.compute.settings import AUTO, NEW, ComputeParams
from stages.graft.core import errors
from stages.graft.core.errors import GraftError, ParamsError, one_line
from stages.graft.core.threads import limit_cpus

SECONDS_TO_ANSWER = 5.0
"""Time for the head to answer; Ray itself would wait for minutes."""

BYTES_OF_OBJECTS = 256 * 2**20
"""Memory for objects of a new cluster; chunks are small, since they hold names and numbers."""

NUM_AHEAD = 2
"""Chunks of a worker: one in work and one waiting, so that a slow worker delays few."""

CHUNKS_PER_WORKER = 16
"""Bounds the idle time at the end to a sixteenth of a worker's share, since the last chunks end at different times."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Environment without Ray's usage reports, progress bars and log lines."""

Chunk = Mapping[str, Sequence[Any]]
"""Lists of equal length by name, of JSON values, such as ids and addresses."""

Work = Callable[[Chunk], Mapping[str, Any]]
"""Work of a worker on a chunk; the reply is a JSON value."""

T = TypeVar("T")


@contextmanager
def join_cluster(compute: ComputeParams) -> Iterator[None]:
    """Join the cluster that the parameters name, or start one; leave it at the end.

    Raises:
        ParamsError: Ray is not installed, there is no such cluster, or none of its machines has room for a worker.
    """
    os.environ |= QUIET
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise ParamsError(
            '`compute.engine` is ray, but Ray is not installed: `pip install "ray[data,train]"`, or set it to local'
        ) from None
    _check_address(compute.address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, compute.address)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's handler would end a stage without its message
        num_workers(compute)
        yield
    finally:
        ray.shutdown()


def num_workers(compute: ComputeParams) -> int:
    """Count the workers: as many as the parameters ask for and the cluster has room for.

    Raises:
        ParamsError: the cluster has no room for a worker.
    """
    ray: Any = import_module("ray")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_room(node, compute) for node in nodes)
    if not room:
        nodes_text = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ParamsError(
            f"`compute`: no machine of the cluster has {compute.cpus_per_worker} CPUs and "
            f"{compute.gpus_per_worker:g} GPUs for a worker; they have {nodes_text}"
        )
    return min(room, compute.workers or room)


def chunk_size(num_items: int, batch_size: int, compute: ComputeParams, max_size: int) -> int:
    """Choose the number of items in a chunk: full batches, and several chunks for each worker.

    It is `max_size` at most, unless the processors of a worker need more batches.
    """
    share = -(-num_items // (num_workers(compute) * CHUNKS_PER_WORKER))
    least = batch_size * compute.cpus_per_worker
    return max(least, -(-min(share, max_size) // batch_size) * batch_size)


def ask_worker(function: Callable[[], T], compute: ComputeParams) -> T:
    """Call a function on one worker and give its result.

    Raises:
        GraftError: the worker's.
    """
    ray: Any = import_module("ray")
    task = ray.remote(_call).options(num_cpus=compute.cpus_per_worker, num_gpus=compute.gpus_per_worker)
    try:
        answer: T = ray.get(task.remote(function))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, GraftError):
            raise error.cause from None
        raise
    return answer


def map_chunks(make: Callable[[], Work], chunks: Sequence[Chunk], compute: ComputeParams) -> Iterator[dict[str, Any]]:
    """Give the workers chunks and yield their replies, in the order of the chunks.

    A lost worker is replaced where there is room, and its chunks are done again, so work may be done twice.

    Args:
        make: gives the work; called once by each worker, before its first chunk.
        chunks: the chunks.
        compute: number and size of the workers.
    Raises:
        GraftError: the first error of a worker.
    """
    data: Any = import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after the import, which sets it
    context = data.DataContext.get_current()
    context.enable_progress_bars = False  # Graft shows its own
    context.execution_options.preserve_order = True
    rows = [{"chunk": json.dumps(chunk)} for chunk in chunks]  # ASCII, since a file's name may be no valid UTF-8
    pool = data.ActorPoolStrategy(size=min(num_workers(compute), len(rows)), max_tasks_in_flight_per_actor=NUM_AHEAD)
    replies = data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(make, compute.cpus_per_worker),
        compute=pool,
        num_cpus=compute.cpus_per_worker,
        num_gpus=compute.gpus_per_worker or None,
    )
    for row in replies.iter_rows():
        if row["kind"]:
            raise getattr(errors, row["kind"], GraftError)(row["reply"])
        yield json.loads(row["reply"])


def _call(function: Callable[[], T]) -> T:
    return function()


class _Worker:
    """A Ray actor: one process of the cluster."""

    def __init__(self, make: Callable[[], Work], num_cpus: int) -> None:
        limit_cpus(num_cpus)
        self._make, self._work = make, cast("Work | None", None)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        try:
            self._work = self._work or self._make()  # not in `__init__`, whose errors Ray hides
            return {"kind": "", "reply": json.dumps(self._work(json.loads(row["chunk"])))}
        except GraftError as error:
            return {"kind": type(error).__name__, "reply": str(error)}


def _init(ray: Any, address: str) -> None:
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Every worker runs this machine's code; shared files have the same paths on all machines.
        "runtime_env": {"py_modules": [str(Path(errors.__file__).parents[2])]},
    }
    if address == NEW:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": BYTES_OF_OBJECTS}
    else:
        options["address"] = address
    try:
        with warnings.catch_warnings(), _without_stderr():
            warnings.simplefilter("ignore")
            ray.init(**options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        message = f"`compute.address` {address}: {one_line(error)}"
        if address == AUTO and isinstance(error, ConnectionError):
            message = (
                "`compute.address` is auto, but this machine has joined no Ray cluster; join one with "
                "`ray start --address=HOST:PORT`, or set it to new (this machine alone), or `compute.engine` to local"
            )
        raise ParamsError(message) from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what Ray's core writes to stderr, past Python."""
    sys.stderr.flush()
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _check_address(address: str) -> None:
    """Check that a cluster answers, before Ray waits for minutes."""
    if address == NEW:
        return
    is_auto, address = address == AUTO, address if address != AUTO else _address_for_auto()
    host, _, port = address.rpartition(":")
    if is_auto and ("/" in host or not port.isdecimal()):  # none, or another kind: Ray says what is wrong with it
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER):
            return
    except (OSError, OverflowError) as error:
        what_to_do = f"start one there with `ray start --head --port={port}`, or set `compute.engine: local`"
        if is_auto:
            what_to_do = f"`ray stop` forgets it, unless `RAY_ADDRESS` names it; or {what_to_do}"
        raise ParamsError(f"`compute.address`: no Ray cluster answers at {address} ({error}); {what_to_do}") from None


def _address_for_auto() -> str:
    """Give the address that Ray takes for auto: the environment's, or that of the last cluster; empty without one."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    if any(process.info["name"] == "gcs_server" for process in psutil.process_iter(["name"])):
        return ""  # a head runs here: Ray finds it, whatever the file says
    last = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray/ray_current_cluster")
    return last.read_text(encoding="utf-8").strip() if last.is_file() else ""


def _room(node: Mapping[str, float], compute: ComputeParams) -> int:
    room = node.get("CPU", 0) // compute.cpus_per_worker
    if compute.gpus_per_worker:
        room = min(room, node.get("GPU", 0) // compute.gpus_per_worker)
    return int(room)
