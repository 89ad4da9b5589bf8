"""Tasks in several threads: results in order, and only a few tasks started ahead of them."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")

_TASKS_PER_THREAD = 8
"""Started tasks; enough that a slow one does not stop the others."""

_max_cpus: int | None = None
"""Set by `limit_cpus`."""


def num_cpus() -> int:
    """Count the processors this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return available if _max_cpus is None else min(available, _max_cpus)


def limit_cpus(max_cpus: int) -> None:
    """Limit `num_cpus` from now on; the other workers of a cluster use the rest of the machine."""
    global _max_cpus
    _max_cpus = max_cpus


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let linear algebra use one thread, while tasks run in several: a task then gives the same bits everywhere.

    The limit belongs to the process: it is set around all tasks, since the end of one would lift it for the others.
    """
    with threadpool_limits(1):
        yield


def in_threads(
    task: Callable[[T], R], items: Iterable[T], num_threads: int | None = None, num_ahead: int | None = None
) -> Iterator[R]:
    """Give the task's result for each item, in the order of the items.

    Args:
        task: called in several threads at once.
        items: read one by one, a few ahead of the results.
        num_threads: by default one for each processor.
        num_ahead: tasks started before their results are used; by default a few for each thread.
    """
    num_threads = num_threads or num_cpus()
    num_ahead = num_ahead or num_threads * _TASKS_PER_THREAD
    started: deque[Future[R]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                started.append(pool.submit(task, item))
                if len(started) >= num_ahead:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            for future in started:
                future.cancel()
