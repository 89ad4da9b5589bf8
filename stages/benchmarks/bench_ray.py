"""Beside the pipeline, bench_ray: how extraction grows with the machines of a Ray cluster, here nodes of one processor.

Reads   data/plates.yaml; generates its images in a temporary folder
Writes  reports/bench_ray.md
Run     python -m stages.benchmarks.bench_ray (about ten minutes on two processors; nothing else should run beside it)
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from stages.benchmarks.generated_images import jpeg_plates, write_images
from stages.benchmarks.rates import Paths, network_weights
from stages.benchmarks.report_parts import Row, library_versions, machine_description, markdown_table, write_report
from stages.graft.backbone.runtime_choice import AUTOMATIC
from stages.graft.compute.extractors import open_extractor
from stages.graft.compute.settings import LOCAL, ComputeParams
from stages.graft.core.errors import ParamsError
from stages.graft.core.stage import run
from stages.graft.images.crop import DECODER
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.hashing import sha256_of

REPORT = Path("reports/bench_ray.md")

NETWORK, NUM_IMAGES, NUM_TURNS = "resnet50", 2000, 3

ON_RAY = LOCAL.model_copy(update={"engine": "ray"})
"""The cluster that `RAY_ADDRESS` names."""

DOLLARS_PER_CPU_HOUR = 0.05
"""An assumption: about the price of one processor (a thread) of a common machine in a cloud."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """One timed extraction."""

    joining: float
    """Seconds until the cluster is joined and a worker has told its runtime."""
    extracting: float
    """Seconds from then to the last row in the store; workers start and load the network in them."""
    sha256: str
    """SHA-256 of the packed features, hex."""


@contextmanager
def ray_nodes(num_nodes: int) -> Iterator[None]:
    """Start a cluster whose nodes have one processor each; the driver runs on the processor of the head node."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = import_module("ray.cluster_utils").Cluster()
    processors = sorted(os.sched_getaffinity(0))
    try:
        for processor in processors[:num_nodes]:
            os.sched_setaffinity(0, {processor})  # the processes that start here inherit it
            cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=256 * 2**20)
        os.sched_setaffinity(0, {processors[0]})
        os.environ["RAY_ADDRESS"] = cluster.address
        yield
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        os.sched_setaffinity(0, processors)
        cluster.shutdown()


def extract(paths: Paths, scratch: Path, name: str, compute: ComputeParams) -> Extraction:
    """Time an extraction into an empty store."""
    weights = network_weights(NETWORK, "random")
    start = time.perf_counter()
    with open_extractor(weights, AUTOMATIC, scratch / "networks", compute) as engine:
        store = FeatureStore(scratch / name, {**weights.to_record(), **engine.record, "decoder": DECODER})
        joined = time.perf_counter()
        engine.extract_missing([*paths], paths.__getitem__, store)
        end = time.perf_counter()
    packed = scratch / name / "features.safetensors"
    store.pack(list(paths), packed, {})
    sha256 = sha256_of(packed)
    print(f"bench_ray: {name}: {joined - start:.1f} s to join, {end - joined:.1f} s, {sha256[:12]}")
    return Extraction(joining=joined - start, extracting=end - joined, sha256=sha256)


def report(local: Extraction, runs: Mapping[int, Sequence[Extraction]]) -> str:
    """Format the extractions on this machine and those on clusters, by number of nodes."""
    one, two = (min(run.extracting for run in runs[num_nodes]) for num_nodes in (1, 2))
    joining = min(run.joining for run in [*runs[1], *runs[2]])
    same = "yes" if {local.sha256} == {run.sha256 for run in [*runs[1], *runs[2]]} else "NO"
    hours = 1e6 * one / NUM_IMAGES / 3600
    rows: list[Row] = [
        {"what": title, "extracting": f"{s:.1f} s", "images a second": f"{NUM_IMAGES / s:.1f}", "times one node": times}
        for title, s, times in (
            ("one node", one, "1"),
            ("two nodes", two, f"**{one / two:.2f}**"),
            ("this machine without Ray, both processors", local.extracting, f"{one / local.extracting:.2f}"),
        )
    ]
    joined = "joining the cluster, and asking a worker what it runs the network with"
    rows.append({"what": joined, "extracting": f"{joining:.1f} s", "images a second": "", "times one node": ""})
    return f"""# Extraction on several machines, measured by `python -m stages.benchmarks.bench_ray`

{machine_description()}, {library_versions("ray")}.
{NUM_IMAGES} JPEG files of generated plates, {NETWORK} with random weights, into an empty store; each figure is the best
of {NUM_TURNS} runs, one node and two taken in turns: what else runs on a machine only slows a run down. A node is a
Ray node process of its own, its workers kept to one processor of this machine; the head's processor has the driver as
well.

{markdown_table(rows)}

Extracting counts from the moment the cluster is joined to the last row in the store; starting the workers and loading
the network is in it. All runs, and this machine without Ray, packed the same bytes: {same}.

What it would cost, projected from the measured rate of one node: {NUM_IMAGES / one:.1f} images a second and processor
are {hours:.1f} processor hours for a million images, which at an assumed {DOLLARS_PER_CPU_HOUR:.2f} dollars per
processor hour are {hours * DOLLARS_PER_CPU_HOUR:.2f} dollars, on however many machines. Not measured: more than two
nodes, machines with a network between them, GPUs.
"""


def main() -> None:
    """Measure and write the report."""
    if len(os.sched_getaffinity(0)) < 2:
        raise ParamsError("two nodes of one processor each need two processors")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        scratch = Path(folder)
        paths = write_images(scratch / "images", jpeg_plates(), NUM_IMAGES)
        local = extract(paths, scratch, "without Ray", LOCAL)
        runs: dict[int, list[Extraction]] = {1: [], 2: []}
        for turn in range(NUM_TURNS):
            for num_nodes, extractions in runs.items():
                with ray_nodes(num_nodes):
                    extractions.append(extract(paths, scratch, f"{num_nodes} nodes, turn {turn}", ON_RAY))
    write_report(report(local, runs), REPORT)


if __name__ == "__main__":
    run("bench_ray", main)
