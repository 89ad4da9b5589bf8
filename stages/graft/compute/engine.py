"""Engine of the work: this machine or a Ray cluster, as the section `compute` says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from stages.graft.compute.settings import ComputeParams

T = TypeVar("T")


@contextmanager
def open_engine(compute: ComputeParams, local: Callable[[], T], remote: Callable[[ComputeParams], T]) -> Iterator[T]:
    """Give what `local` or `remote` gives; a cluster is joined and left, and Ray imported, only if `compute` says so.

    Raises:
        ParamsError: as in `join_cluster`.
    """
    if compute.engine == "local":
        yield local()
        return
    from stages.graft.compute.ray_cluster import join_cluster

    with join_cluster(compute):
        yield remote(compute)
