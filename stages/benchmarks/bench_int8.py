"""Beside the pipeline, bench_int8: images a second in int8 and in bf16, in one process, from memory, in turns.

Reads   the bundled backbone; generates its images in a temporary folder
Writes  reports/bench_int8.md
Run     python -m stages.benchmarks.bench_int8 (three minutes; needs NNCF; nothing else should run beside it)
"""

import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from stages.benchmarks.generated_images import NUM_PLATES, jpeg_plates, write_images
from stages.benchmarks.rates import Paths, network_weights, rate
from stages.benchmarks.report_parts import Row, library_versions, machine_description, markdown_table, write_report
from stages.graft.backbone.precision_check import calibration_images, cosines, sample_images
from stages.graft.backbone.runtime import Precision, Runtime
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.stage import run
from stages.graft.core.threads import in_threads
from stages.graft.images.loading import read_batch

REPORT = Path("reports/bench_int8.md")

NETWORKS = {"resnet50": "random", "vgg19": "random", "efficientnet_lite0": "bundled", "regnet_x_400mf": "bundled"}
"""Networks, and their weights; the values of weights do not change the speed."""

SECONDS, NUM_TURNS = 4.0, 5
"""Duration of a measurement, and how often each precision has its turn; the medians count."""


def measure_int8(paths: Paths, scratch: Path) -> list[Row]:
    """Measure every network in both precisions.

    Args:
        paths: image files by their id.
        scratch: folder for the networks.
    Returns:
        A row of the table for each network.
    """
    rows = []
    for name, kind in NETWORKS.items():
        print(f"bench_int8: {name}", flush=True)
        rows.append(_measure(network_weights(name, kind), paths, scratch))
    return rows


def _measure(weights: Weights, paths: Paths, scratch: Path) -> Row:
    sample = calibration_images([*paths], paths.__getitem__, [])

    def runtime_in(precision: Precision) -> Runtime:
        choice = AUTOMATIC.model_copy(update={"precision": precision})
        return choose_runtime(weights, choice, scratch / "networks", sample)

    bf16 = runtime_in("bf16")
    bf16.load()
    start = time.perf_counter()
    runtimes = {"bf16": bf16, "int8": runtime_in("int8")}
    seconds = time.perf_counter() - start
    turns = [{name: _rate_from_memory(one, weights, paths) for name, one in runtimes.items()} for _ in range(NUM_TURNS)]
    rates = {name: statistics.median(turn[name] for turn in turns) for name in runtimes}
    ratio = statistics.median(turn["int8"] / turn["bf16"] for turn in turns)
    cosine = _cosine(runtimes["int8"], runtime_in("fp32"), weights, paths)
    return {
        "network": weights.name,
        "bf16, images/s": f"{rates['bf16']:.1f}",
        "int8, images/s": f"{rates['int8']:.1f}",
        "int8 / bf16": f"**{ratio:.2f}**",
        "calibration, once": f"{seconds:.0f} s",
        "mean cosine to fp32": f"{cosine['mean']:.4f}",
        "worst": f"{cosine['worst']:.4f}",
    }


def _rate_from_memory(runtime: Runtime, weights: Weights, paths: Paths) -> float:
    """Measure images a second, of one batch again and again on all processors."""
    size = int(runtime.record["batch_size"])
    images = read_batch([*paths][:size], paths.__getitem__, weights.preprocessing, size)
    computed = in_threads(runtime.load(), cycle([images]), runtime.num_streams, 2 * runtime.num_streams)
    return rate(map(len, computed), SECONDS)


def _cosine(runtime: Runtime, exact: Runtime, weights: Weights, paths: Paths) -> dict[str, float]:
    """Compare the features of the images that the precision is checked on."""
    size, ids = int(runtime.record["batch_size"]), sample_images([*paths], paths.__getitem__).ids
    batches = [
        read_batch(ids[start : start + size], paths.__getitem__, weights.preprocessing, size)
        for start in range(0, len(ids), size)
    ]
    found = [np.concatenate([one.load()(batch) for batch in batches])[: len(ids)] for one in (runtime, exact)]
    return cosines(*found)


def report(rows: list[Row]) -> str:
    """Format the results."""
    return f"""# int8 beside bf16, measured by `python -m stages.benchmarks.bench_int8`

{machine_description()}, {library_versions("nncf")}.
Images a second of one batch of {AUTOMATIC.batch_size or 8} in memory, on all processors, in one process; medians of
{NUM_TURNS} turns of {SECONDS:.0f} s. Calibrated on generated plates; cosines are of other plates. ResNet-50 and VGG-19
have random weights.

{markdown_table(rows)}
"""


def main() -> None:
    """Measure and write the report."""
    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder:
        paths = write_images(Path(folder) / "images", jpeg_plates(), NUM_PLATES)
        rows = measure_int8(paths, Path(folder))
    write_report(report(rows), REPORT)


if __name__ == "__main__":
    run("bench_int8", main, again="python -m stages.benchmarks.bench_int8")
