"""Sums over many images, in several threads; the same bits whatever the number of threads."""

from collections.abc import Callable
from functools import reduce
from typing import Any

from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.storage.arrays import row_blocks

Sums = tuple[Any, ...]
"""Numbers and arrays that are added one by one."""


def sum_rows(sums_of: Callable[[slice], Sums], num_rows: int) -> Sums:
    """Add up what each block of rows gives. Linear algebra should have one thread meanwhile: `one_thread_each`."""
    blocks = list(row_blocks(num_rows))
    parts = in_threads(sums_of, blocks, num_ahead=num_cpus()) if len(blocks) > 1 else map(sums_of, blocks)
    return reduce(_add, parts)


def _add(total: Sums, part: Sums) -> Sums:
    return tuple(one + other for one, other in zip(total, part, strict=True))
