"""Part of `make bench`: images a second in int8 and in bf16, in one process, from memory, in turns.

Run     python -m stages.benchmarks.bench int8 (three minutes; needs NNCF; nothing else should run beside it)
"""

import statistics
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from stages.benchmarks.bench_extraction import Found, as_part
from stages.benchmarks.generated_images import NUM_PLATES, jpeg_plates, write_images
from stages.benchmarks.measurements import COSINE, Measurement
from stages.benchmarks.rates import Paths, network_weights, rate
from stages.graft.backbone.precision_check import calibration_images, cosines, sample_images
from stages.graft.backbone.runtime import Precision, Runtime
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.threads import in_threads
from stages.graft.images.loading import read_batch

NETWORKS = {"resnet50": "random", "vgg19": "random", "efficientnet_lite0": "bundled", "regnet_x_400mf": "bundled"}
"""Networks, and their weights; the values of weights do not change the speed."""

SECONDS, NUM_TURNS = 4.0, 5
"""Duration of a measurement, and how often each precision has its turn; the medians count."""


def measure_int8(scratch: Path) -> list[Measurement]:
    """Measure every network in both precisions."""
    paths, found = write_images(scratch / "images", jpeg_plates(), NUM_PLATES), Found()
    for name, kind in NETWORKS.items():
        print(f"bench: {name}, int8", flush=True)
        found += _measure(network_weights(name, kind), paths, scratch)
    return as_part("int8", found)


def _measure(weights: Weights, paths: Paths, scratch: Path) -> Found:
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
    cosine = _cosine(runtimes["int8"], runtime_in("fp32"), weights, paths)
    return [
        (f"{weights.name}: int8 / bf16", statistics.median(turn["int8"] / turn["bf16"] for turn in turns), ""),
        (f"{weights.name}: int8", rates["int8"], "images/s"),
        (f"{weights.name}: bf16", rates["bf16"], "images/s"),
        (f"{weights.name}: calibration, once", seconds, "s"),
        (f"{weights.name}: mean cosine of int8 to fp32", cosine["mean"], COSINE),
        (f"{weights.name}: worst cosine of int8 to fp32", cosine["worst"], COSINE),
    ]


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
