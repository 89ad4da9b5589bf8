"""A Ray cluster of separate node processes on this machine, for tests; no dashboard, no usage reports."""

import contextlib
import os
from collections.abc import Iterator

from stages.graft.compute.settings import ComputeParams


class Nodes:
    """A head and one more node, of one processor each."""

    def __init__(self, num_nodes: int = 2) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args=node())
        self._others = [self._cluster.add_node(**node()) for _ in range(num_nodes - 1)]
        self.address = self._cluster.address
        self._before = os.environ.get("RAY_ADDRESS", "")
        os.environ["RAY_ADDRESS"] = self.address  # what auto means
        self.compute = ComputeParams(engine="ray", address="auto", workers=None, cpus_per_worker=1, gpus_per_worker=0)

    def kill_one(self) -> None:
        """Kill a node that is not the head, its workers with it, without a word."""
        self._cluster.remove_node(self._others.pop(), allow_graceful=False)

    def stop(self) -> None:
        """End them all."""
        os.environ["RAY_ADDRESS"] = self._before
        self._cluster.shutdown()


def node() -> dict[str, object]:
    return {
        "num_cpus": 1,
        "include_dashboard": False,
        "object_store_memory": 128 * 2**20,
    }


@contextlib.contextmanager
def cluster(num_nodes: int = 2) -> Iterator[Nodes]:
    """Start a cluster and end it."""
    nodes = Nodes(num_nodes)
    try:
        yield nodes
    finally:
        nodes.stop()
