"""A Ray cluster of separate node processes on this machine, for tests; no dashboard, no usage reports."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

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
        os.environ["RAY_ADDRESS"] = self.address  # the address `auto` stands for
        self.compute = ComputeParams(engine="ray", address="auto", workers=None, cpus_per_worker=1, gpus_per_worker=0)

    def kill_one(self) -> None:
        """Kill a node that is not the head, with its workers, without a shutdown."""
        self._cluster.remove_node(self._others.pop(), allow_graceful=False)

    def stop(self) -> None:
        """Stop all nodes."""
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
    """Start a cluster, and stop it at the end."""
    nodes = Nodes(num_nodes)
    try:
        yield nodes
    finally:
        nodes.stop()


@contextlib.contextmanager
def started(head: str, other: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Start two nodes with the commands given, in place of two machines; give the head's address and end both.

    Args:
        head: the command that starts the first node, at Ray's usual port.
        other: the command that joins the machine FIRST.
        environment: of both.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    nodes = []
    try:
        for number, command in enumerate((head, other), 1):
            words = shlex.split(command.replace("FIRST", "127.0.0.1").replace("6379", port))
            words[0] = str(Path(sys.executable).parent / words[0])
            room = ["--num-cpus=1", f"--object-store-memory={128 * 2**20}"]
            nodes.append(subprocess.Popen([*words, *room, "--block"], env=environment, start_new_session=True))
            wait_for_nodes(f"127.0.0.1:{port}", number, environment)
        yield f"127.0.0.1:{port}"
    finally:
        for node in nodes:
            os.killpg(node.pid, signal.SIGTERM)
            node.wait()


def wait_for_nodes(address: str, number: int, environment: Mapping[str, str]) -> None:
    """Wait until a cluster has so many nodes, two minutes at most."""
    count = f"import ray; ray.init({address!r}, log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        asked = subprocess.run([sys.executable, "-c", count], env=environment, capture_output=True, text=True)
        if asked.stdout.strip() == str(number):
            return
        time.sleep(0.5)
    raise AssertionError(asked.stdout + asked.stderr)
