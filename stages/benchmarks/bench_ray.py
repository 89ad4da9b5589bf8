"""Beside the pipeline, bench_ray: how extraction grows with the machines of a Ray cluster, here nodes of one processor.

Reads   data/plates.yaml; generates its images in a temporary folder
Writes  reports/bench_ray.md
Run     python -m stages.benchmarks.bench_ray (about ten minutes on two processors; nothing else should run beside it)
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from stages.benchmarks.bench_extraction import jpeg_plates, machine, table, weights_of
from stages.benchmarks.rates import write_images
from stages.graft.backbone.runtime_choice import AUTOMATIC
from stages.graft.compute.extractors import extractor
from stages.graft.compute.settings import LOCAL, ComputeParams
from stages.graft.core.errors import ParamsError
from stages.graft.core.stage import run
from stages.graft.images.crop import DECODER
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.files import write_text

REPORT = Path("reports/bench_ray.md")

NETWORK, NUM_IMAGES, NUM_TURNS = "resnet50", 2000, 3

ON_RAY = LOCAL.model_copy(update={"engine": "ray"})
"""The cluster that `RAY_ADDRESS` names."""

DOLLARS_PER_CPU_HOUR = 0.05
"""An assumption: about what clouds ask for a processor (a thread) of a common machine."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One extraction, in seconds."""

    joining: float
    """Until the cluster is joined and a worker has said what it runs the network with."""
    extracting: float
    """From there to the last row in the store; workers start and load the network in it."""
    sha256: str
    """Of the packed features."""


@contextmanager
def nodes(number: int) -> Iterator[None]:
    """Start a cluster of node processes, each with its workers on one processor; the head's has the driver as well."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = import_module("ray.cluster_utils").Cluster()
    processors = sorted(os.sched_getaffinity(0))
    try:
        for processor in processors[:number]:
            os.sched_setaffinity(0, {processor})  # inherited by what is started
            cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=256 * 2**20)
        os.sched_setaffinity(0, {processors[0]})
        os.environ["RAY_ADDRESS"] = cluster.address
        yield
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        os.sched_setaffinity(0, processors)
        cluster.shutdown()


def extraction(paths: Mapping[str, Path], scratch: Path, name: str, compute: ComputeParams) -> Run:
    """Extract into an empty store and time it."""
    weights = weights_of(NETWORK, "random")
    start = time.perf_counter()
    with extractor(weights, AUTOMATIC, scratch / "networks", compute) as engine:
        store = FeatureStore(scratch / name, {**weights.record(), **engine.record, "decoder": DECODER})
        joined = time.perf_counter()
        engine.extract_missing([([*paths], paths.__getitem__)], store)
        end = time.perf_counter()
    packed = scratch / name / "features.safetensors"
    store.pack(list(paths), packed, {})
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    print(f"bench_ray: {name}: {joined - start:.1f} s to join, {end - joined:.1f} s, {digest[:12]}")
    return Run(joining=joined - start, extracting=end - joined, sha256=digest)


TEXT = """# Extraction on several machines, measured by `python -m stages.benchmarks.bench_ray`

{machine}, ray {ray}.
{num_images} JPEG files of generated plates, {network} with random weights, into an empty store; each figure is the best
of {num_turns} runs, one node and two taken in turns: what else runs on a machine only slows a run down. A node is a
Ray node process of its own, its workers kept to one processor of this machine; the head's processor has the driver as
well.

{rows}

Extracting counts from the moment the cluster is joined to the last row in the store; starting the workers and loading
the network is in it. All runs, and this machine without Ray, packed the same bytes: {same}.

What it would cost, projected from the measured rate of one node: {rate:.1f} images a second and processor are
{hours:.1f} processor hours for a million images, which at an assumed {price:.2f} dollars per processor hour are
{dollars:.2f} dollars, on however many machines. Not measured: more than two nodes, machines with a network
between them, GPUs.
"""


def main() -> None:
    """Measure and write the report."""
    if len(os.sched_getaffinity(0)) < 2:
        raise ParamsError("two nodes of one processor each need two processors")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        scratch = Path(folder)
        write_images(scratch / "images", jpeg_plates(), NUM_IMAGES)
        files = sorted((scratch / "images").rglob("*.jpg"))
        paths = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}
        here = extraction(paths, scratch, "here", LOCAL)
        runs: dict[int, list[Run]] = {1: [], 2: []}
        for turn in range(NUM_TURNS):
            for number, so_far in runs.items():
                with nodes(number):
                    so_far.append(extraction(paths, scratch, f"{number} nodes, turn {turn}", ON_RAY))
    text = report(here, runs)
    write_text(text, REPORT)
    print(text)


def report(here: Run, runs: Mapping[int, Sequence[Run]]) -> str:
    """Put what was measured in words."""
    one, two = (min(run.extracting for run in runs[number]) for number in (1, 2))
    joining = min(run.joining for run in [*runs[1], *runs[2]])
    rate = NUM_IMAGES / one
    rows = [
        ("one node", f"{one:.1f} s", f"{rate:.1f}", "1"),
        ("two nodes", f"{two:.1f} s", f"{NUM_IMAGES / two:.1f}", f"**{one / two:.2f}**"),
        ("this machine without Ray, both processors", f"{here.extracting:.1f} s",
         f"{NUM_IMAGES / here.extracting:.1f}", f"{one / here.extracting:.2f}"),
        ("joining the cluster, and asking a worker what it runs the network with", f"{joining:.1f} s", "", ""),
    ]  # fmt: skip
    return TEXT.format(
        machine=machine(),
        ray=version("ray"),
        num_images=NUM_IMAGES,
        network=NETWORK,
        num_turns=NUM_TURNS,
        rows=table(("what", "extracting", "images a second", "times one node"), rows),
        same="yes" if {here.sha256} == {run.sha256 for run in [*runs[1], *runs[2]]} else "NO",
        rate=rate,
        hours=1e6 / rate / 3600,
        price=DOLLARS_PER_CPU_HOUR,
        dollars=1e6 / rate / 3600 * DOLLARS_PER_CPU_HOUR,
    )


if __name__ == "__main__":
    run("bench_ray", main)
