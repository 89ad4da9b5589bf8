"""Parts of `make bench`: how fast extraction is beside the usual loop, whether it gives the same, and its small costs.

Run     python -m stages.benchmarks.bench extraction parity costs (nothing else should run beside it)
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from stages.benchmarks.generated_images import NUM_PLATES, jpeg_plates, write_images
from stages.benchmarks.measurements import COSINE, Measurement
from stages.benchmarks.rates import Rates, measure_rates, parity, prediction_rates
from stages.benchmarks.sandbox import Sandbox
from stages.graft.model.predictor import load_predictor

NETWORKS = {
    "resnet50": "random",
    "vgg19": "random",
    "mobilenet_v3_small": "random",
    "regnet_x_400mf": "bundled",
    "efficientnet_lite0": "bundled",
}
"""Networks whose speed is measured, and their weights; the values of weights do not change the speed."""

FAMILIES = (
    "alexnet", "vgg19", "resnet50", "inception_v3", "googlenet", "densenet121", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "convnext_tiny", "regnet_y_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "mnasnet1_0",
    "vit_b_16", "swin_t", "maxvit_t",
)  # fmt: skip
"""Networks with random weights whose features are compared with torch's."""

BUNDLED = ("regnet_x_400mf", "efficientnet_lite0")
"""Networks with trained weights whose features are compared too."""

SECONDS = 10.0
"""Duration of the measurement of one rate."""

NUM_RERUN, NUM_NEW = 1200, 12
"""Images of the timed re-runs, and images that each of them adds: 1%."""

NUM_IDLE_TURNS = 15
"""Runs of `dvc repro` with nothing to do; many, since their ratio is wanted to a few hundredths."""

NUM_FEW, NUM_MANY = 2000, 20_000
"""Images of the two extractions whose peaks of memory are compared."""

Found = list[tuple[str, float, str]]
"""What was measured, the number, its unit."""


def measure_extraction(scratch: Path) -> list[Measurement]:
    """Measure how many images a second every network takes."""
    paths, found = write_images(scratch / "images", jpeg_plates(), 20 * NUM_PLATES), Found()
    for name, kind in NETWORKS.items():
        print(f"bench: {name}", flush=True)
        found += _rates(name, measure_rates(name, kind, scratch / "images", paths, scratch, SECONDS))
    return as_part("Extraction", found)


def _rates(name: str, r: Rates) -> Found:
    """List the rates of one network, ratios first."""
    title = f"{name} ({r.runs_on})"
    return [
        (f"{title}: Graft / usual loop", r.graft / r.loop, ""),
        (f"{title}: Graft / best flags", r.graft / r.best_loop, ""),
        (f"{title}: Graft / bound", r.graft / r.bound, ""),
        (f"{title}: Graft", r.graft, "images/s"),
        (f"{title}: usual loop", r.loop, "images/s"),
        (f"{title}: best flags", r.best_loop, "images/s"),
        (f"{title}: from memory", r.network, "images/s"),
        (f"{title}: decoding alone", r.decoding, "images/s"),
    ]


def measure_parity(scratch: Path) -> list[Measurement]:
    """Compare the default runtime of each family with torch in fp32."""
    paths, found = write_images(scratch / "images", jpeg_plates(), NUM_PLATES), Found()
    for name, kind in {**dict.fromkeys(FAMILIES, "random"), **dict.fromkeys(BUNDLED, "bundled")}.items():
        runs_on, mean, lowest = parity(name, kind, paths, scratch)
        title = f"{name}, {kind} weights ({runs_on})"
        found += [(f"{title}: mean cosine", mean, COSINE), (f"{title}: worst cosine", lowest, COSINE)]
    return as_part("Features against torch in fp32", found)


def measure_costs(scratch: Path) -> list[Measurement]:
    """Measure starts, a few new images, a run with nothing to do, prediction and memory in a clone."""
    sandbox, source, plates = Sandbox.clone(scratch / "clone"), scratch / "source", jpeg_plates()
    sandbox.set_params("ingest", source=str(source))
    found = [*_starts(sandbox, plates, source), *_new_images(sandbox, plates, source)]
    sandbox.set_params("backbone", name="regnet_x_400mf", weights="bundled")
    sandbox.run("dvc", "repro")
    found += [*_prediction(sandbox, scratch), *_idle_repro(sandbox, scratch), *_memory(sandbox, plates, source)]
    return as_part("Small costs", found)


def as_part(part: str, found: Found) -> list[Measurement]:
    """Put measurements under the title of a part of the page."""
    return [Measurement(part=part, what=what, value=value, unit=unit) for what, value, unit in found]


def _starts(sandbox: Sandbox, plates: Sequence[bytes], source: Path) -> Found:
    """Time processes that extract one batch of images: the first with resnet50, and later ones with other images."""
    sandbox.set_params("backbone", name="resnet50", weights="random")
    seconds = []
    for start in (b"first", b"second", b"third", b"fourth"):
        write_images(source, [plate + start for plate in plates[:8]], 8)
        sandbox.stage_seconds("ingest")
        seconds.append(sandbox.stage_seconds("extract"))
    return [
        ("cold start, resnet50: conversion, comparison with torch, first batch, file written", seconds[0], "s"),
        ("second start, resnet50: the same with the network converted already, best of three", min(seconds[1:]), "s"),
    ]


def _new_images(sandbox: Sandbox, plates: Sequence[bytes], source: Path) -> Found:
    """Time the extraction with resnet50 of all images, and of 1% new ones three times."""
    write_images(source, plates, NUM_RERUN)
    sandbox.stage_seconds("ingest")
    cold = sandbox.stage_seconds("extract")
    idle = sandbox.stage_seconds("extract", repeats=3)
    seconds = []
    for turn in (1, 2, 3):
        write_images(source, plates, NUM_RERUN + turn * NUM_NEW)
        sandbox.stage_seconds("ingest")
        seconds.append(sandbox.stage_seconds("extract"))
    new, title = statistics.median(seconds), f"extract of {NUM_NEW} new images among {NUM_RERUN}, resnet50"
    return [
        (
            f"{title}: share of extracting all; medians of three, without a run of no new image",
            (new - idle) / (cold - idle),
            "",
        ),
        (title, new, "s"),
    ]


def _idle_repro(sandbox: Sandbox, scratch: Path) -> Found:
    """Time `dvc repro` with nothing to do, in turn with ten stages of `cp`, without DVC's analytics."""
    copies = replace(sandbox, folder=scratch / "copies")
    copies.folder.mkdir()
    stages = {f"copy{k}": {"cmd": f"cp {k} {k + 1}", "deps": [f"{k}"], "outs": [f"{k + 1}"]} for k in range(10)}
    (copies.folder / "0").write_text("content\n", encoding="utf-8")
    (copies.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "repro", "--quiet"]):
        copies.run(*command)
    turns = [[where.seconds("dvc", "repro") for where in (sandbox, copies)] for _ in range(NUM_IDLE_TURNS)]
    nothing, copying = (statistics.median(column) for column in zip(*turns, strict=True))
    title = "`dvc repro` with nothing to do"
    return [
        (
            f"{title}: against ten `cp` stages; median of {len(turns)} in turns",
            statistics.median(a / b for a, b in turns),
            "",
        ),
        (title, nothing, "s"),
        ("ten `cp` stages with nothing to do", copying, "s"),
    ]


def _prediction(sandbox: Sandbox, scratch: Path) -> Found:
    """Compare the rate of `graft predict` with that of extraction."""
    files = sorted((scratch / "source").rglob("*.jpg"))
    predicting, extracting = prediction_rates(load_predictor(sandbox.folder), files, scratch / "predict")
    title = f"`graft predict`, regnet_x_400mf, {len(files)} images, network loaded"
    return [(f"{title}: against extraction", predicting / extracting, ""), (title, predicting, "images/s")]


def _memory(sandbox: Sandbox, plates: Sequence[bytes], source: Path) -> Found:
    """Compare the peak memory of extraction for few and for many images."""
    peaks = []
    for num_images in (NUM_FEW, NUM_MANY):
        write_images(source, plates, num_images)
        sandbox.stage_seconds("ingest")
        peaks.append(sandbox.measure("stages.extract", "main").peak_mb)
    few, many = peaks
    title = f"memory of extract, {NUM_MANY:,} images"
    return [(f"{title}, against {NUM_FEW:,}", many / few, ""), (title, many, "MB")]
