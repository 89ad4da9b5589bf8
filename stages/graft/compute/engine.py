"""Where work is done, as the section `compute` says: on this machine, or by a cluster that is joined for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from stages.graft.compute.settings import ComputeParams

T = TypeVar("T")


@contextmanager
def open_engine(compute: ComputeParams, here: Callable[[], T], there: Callable[[ComputeParams], T]) -> Iterator[T]:
    """Give what does the work; a cluster is joined for as long as it does, and Ray imported for a cluster alone.

    Args:
        compute: the choice.
        here: gives what works on this machine.
        there: gives what works on the cluster.
    Raises:
        ParamsError: as in `cluster.joined`.
    """
    if compute.engine == "local":
        yield here()
        return
    from stages.graft.compute.ray_cluster import join_cluster

    with join_cluster(compute):
        yield there(compute)
