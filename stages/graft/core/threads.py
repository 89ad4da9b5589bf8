"""Work spread over threads: results in order, and never more tasks begun than the threads can soon do."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_TASKS_PER_THREAD = 8
"""Begun and waiting; enough that a slow task does not stop the others."""


_share: int | None = None
"""Processors that `keep_to` left this process."""


def num_cpus() -> int:
    """Count the processors this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return found if _share is None else min(found, _share)


def keep_to(share: int) -> None:
    """Use at most so many processors from now on: others of a cluster's workers use the rest of the machine."""
    global _share
    _share = share


def in_threads(
    task: Callable[[T], R], items: Iterable[T], num_threads: int | None = None, num_ahead: int | None = None
) -> Iterator[R]:
    """Give the task's result for each item, in order of the items.

    Args:
        task: called in several threads at once.
        items: taken one by one, a few ahead of the results.
        num_threads: one for each processor by default.
        num_ahead: tasks begun before their results are asked for; by default a few for each thread.
    """
    num_threads = num_threads or num_cpus()
    num_ahead = num_ahead or num_threads * _TASKS_PER_THREAD
    begun: deque[Future[R]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                begun.append(pool.submit(task, item))
                if len(begun) >= num_ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
