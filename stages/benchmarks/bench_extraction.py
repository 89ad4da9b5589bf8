"""Beside the pipeline, bench: how fast extraction and re-runs are on this machine, as ratios within one run.

Reads   the committed state of the repository, the bundled backbone; generates its images in a temporary folder
Writes  reports/bench.md
Run     make bench (about a quarter of an hour on two processors; nothing else should run beside it)
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from stages.benchmarks.generated_images import NUM_PLATES, PLATES, jpeg_plates, write_images
from stages.benchmarks.rates import LOOP_BATCH, NUM_COMPARED, Paths, Rates, measure_rates, parity, prediction_rates
from stages.benchmarks.report_parts import Row, machine_description, markdown_table, write_report
from stages.benchmarks.sandbox import Sandbox
from stages.graft.core.params import load_spec
from stages.graft.core.stage import run
from stages.graft.data.synthetic.plates import PlatesSpec
from stages.graft.model.predictor import load_predictor

REPORT = Path("reports/bench.md")

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

SECONDS = 10.0
"""Duration of the measurement of one rate."""

NUM_RERUN, NUM_NEW = 1200, 12
"""Images of the timed re-runs, and images that each of them adds: 1%."""

NUM_IDLE_TURNS = 15
"""Runs of `dvc repro` with nothing to do; many, since their ratio is wanted to a few hundredths."""

NUM_FEW, NUM_MANY = 2000, 20_000
"""Images of the two extractions whose peaks of memory are compared."""


def measure_networks(paths: Paths, images: Path, scratch: Path) -> dict[str, Rates]:
    """Measure the rates of every network."""
    rates = {}
    for name, kind in NETWORKS.items():
        print(f"bench: {name}")
        rates[name] = measure_rates(name, kind, images, paths, scratch, SECONDS)
        print(f"bench: {name}: {rates[name].loop:.0f} to {rates[name].graft:.0f} images/s")
    return rates


def rates_row(name: str, r: Rates) -> Row:
    """Format the rates of one network and their ratios."""
    return {
        "network": name,
        "usual loop": f"{r.loop:.1f}",
        "best flags": f"{r.best_loop:.1f}",
        "Graft": f"{r.graft:.1f}",
        "from memory": f"{r.network:.1f}",
        "decoding alone": f"{r.decoding:.0f}",
        "Graft / loop": f"**{r.graft / r.loop:.1f}**",
        "Graft / best flags": f"**{r.graft / r.best_loop:.1f}**",
        "Graft / bound": f"{r.graft / r.bound:.2f}",
        "runs on": r.runs_on,
    }


def measure_parity(paths: Paths, scratch: Path) -> list[Row]:
    """Compare the default runtime of each family with torch in fp32."""
    rows: list[Row] = []
    for name, kind in {**dict.fromkeys(FAMILIES, "random"), "regnet_x_400mf": "bundled"}.items():
        runs_on, mean, lowest = parity(name, kind, paths, scratch)
        cosines = {"mean cosine": f"{mean:.5f}", "worst cosine": f"{lowest:.5f}"}
        rows.append({"network": f"{name}, {kind} weights", "runs on": runs_on, **cosines})
    return rows


Results = dict[str, str]
"""Values by the title of what they measure."""


def measure_starts(sandbox: Sandbox, plates: Sequence[bytes], source: Path) -> Results:
    """Time processes that extract one batch of images: the first with resnet50, and later ones with other images."""
    sandbox.set_params("backbone", name="resnet50", weights="random")
    seconds = []
    for start in (b"first", b"second", b"third", b"fourth"):
        write_images(source, [plate + start for plate in plates[:8]], 8)
        sandbox.stage_seconds("ingest")
        seconds.append(sandbox.stage_seconds("extract"))
    modules, again = sandbox.measure("stages.extract", "main").modules, f"{min(seconds[1:]):.2f} s"
    return {
        "cold start, resnet50: conversion, comparison with torch, first batch, file written": f"{seconds[0]:.1f} s",
        "second start, resnet50: the same with the network converted already, best of three": again,
        "torch imported at the second start": "yes" if "torch" in modules else "no",
    }


def measure_new_images(sandbox: Sandbox, plates: Sequence[bytes], source: Path, load_seconds: float) -> Results:
    """Time the extraction with resnet50 of all images, and of 1% new ones three times."""
    write_images(source, plates, NUM_RERUN)
    sandbox.stage_seconds("ingest")
    cold = sandbox.stage_seconds("extract")
    idle = sandbox.stage_seconds("extract", repeats=3) + load_seconds
    seconds = []
    for turn in (1, 2, 3):
        write_images(source, plates, NUM_RERUN + turn * NUM_NEW)
        sandbox.stage_seconds("ingest")
        seconds.append(sandbox.stage_seconds("extract"))
    new = statistics.median(seconds)
    title = (
        f"{NUM_NEW} new images among {NUM_RERUN}, resnet50: share of the cold run, without start-up; median of three "
        f"({new:.2f} s; start-up {idle:.2f} s, cold {cold:.1f} s)"
    )
    return {title: f"{(new - idle) / (cold - idle):.1%}"}


def measure_idle_repro(sandbox: Sandbox, scratch: Path) -> Results:
    """Time `dvc repro` with nothing to do, in turn with six stages of `cp`, with and without DVC's analytics."""
    copies = replace(sandbox, folder=scratch / "copies")
    copies.folder.mkdir()
    stages = {f"copy{k}": {"cmd": f"cp {k} {k + 1}", "deps": [f"{k}"], "outs": [f"{k + 1}"]} for k in range(6)}
    (copies.folder / "0").write_text("content\n", encoding="utf-8")
    (copies.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "repro", "--quiet"]):
        copies.run(*command)
    # DVC reports its use as `dvc init` leaves it; here it reports to a port that takes nothing.
    reporting = copies.with_environment(DVC_NO_ANALYTICS="", DVC_ANALYTICS_ENDPOINT="http://127.0.0.1:9")
    turns = [[where.seconds("dvc", "repro") for where in (sandbox, copies, reporting)] for _ in range(NUM_IDLE_TURNS)]
    nothing, copying, analytics = (statistics.median(column) for column in zip(*turns, strict=True))
    ratios = [statistics.median(turn[0] / turn[k] for turn in turns) for k in (1, 2)]
    num_images = len(list((sandbox.folder / "data/images").iterdir()))
    title = f"nothing changed, {num_images} images in a folder: `dvc repro` against six `cp` stages"
    times = f"{nothing:.2f} s, {copying:.2f} s; medians of {len(turns)} in turns"
    with_analytics = "the same against six `cp` stages with DVC's analytics, which `dvc init` leaves on"
    return {f"{title} ({times})": f"{ratios[0]:.2f}", f"{with_analytics} ({analytics:.2f} s)": f"{ratios[1]:.2f}"}


def measure_new_parameter(sandbox: Sandbox) -> Results:
    """Time the stages that run again for a new parameter of the head, without DVC and with it."""
    sandbox.set_params("train_head", kind="prototype")
    stages = ("train_head", "finetune", "explain", "evaluate")
    work = sum(sandbox.stage_seconds(stage, repeats=3) for stage in stages)
    imports = sum(sandbox.import_seconds(stage) for stage in stages)
    sandbox.set_params("train_head", kind="logistic", class_weight="balanced")
    repro = sandbox.seconds("dvc", "repro")
    title = f"a new head parameter, {NUM_RERUN} images: four stages against the import of what they need"
    return {
        f"{title} ({work:.2f} s, {imports:.2f} s)": f"{work / imports:.2f}",
        "the same through `dvc repro`, with publishing to MLflow": f"{repro:.1f} s",
    }


def measure_prediction(sandbox: Sandbox, scratch: Path) -> Results:
    """Compare the rate of `graft predict` with that of extraction."""
    files = sorted((sandbox.folder / "data/images").iterdir())
    predicting, extracting = prediction_rates(load_predictor(sandbox.folder), files, scratch / "predict")
    title = f"`graft predict`'s rows against extraction, bundled network, {len(files)} images, networks loaded"
    return {f"{title} ({predicting:.0f}, {extracting:.0f} images/s)": f"{predicting / extracting:.2f}"}


def measure_memory(sandbox: Sandbox, plates: Sequence[bytes], source: Path) -> Results:
    """Compare the peak memory of extraction for few and for many images."""
    peaks = []
    for num_images in (NUM_FEW, NUM_MANY):
        write_images(source, plates, num_images)
        sandbox.stage_seconds("ingest")
        peaks.append(sandbox.measure("stages.extract", "main").peak_mb)
    few, many = peaks
    title = f"peak memory of extraction, {NUM_MANY:,} images against {NUM_FEW:,}"
    return {f"{title} ({many:.0f} MB, {few:.0f} MB)": f"{many / few:.2f}"}


def measure_pipeline(plates: Sequence[bytes], scratch: Path, load_seconds: float) -> Results:
    """Measure starts, re-runs and memory in a clone of the repository."""
    print("bench: starts, re-runs, memory")
    sandbox, source = Sandbox.clone(scratch / "clone"), scratch / "source"
    sandbox.set_params("ingest", source=str(source))
    results = measure_starts(sandbox, plates, source) | measure_new_images(sandbox, plates, source, load_seconds)
    sandbox.set_params("backbone", name="regnet_x_400mf", weights="bundled")
    sandbox.run("dvc", "repro")
    prediction = measure_prediction(sandbox, scratch)
    results |= measure_idle_repro(sandbox, scratch) | measure_new_parameter(sandbox) | prediction
    return results | measure_memory(sandbox, plates, source)


def report(rates: Mapping[str, Rates], pipeline: Results, parity_rows: list[Row]) -> str:
    """Format the results."""
    px = load_spec(PLATES, PlatesSpec).size_px
    return f"""# Speed, measured by `make bench`

{machine_description()}.
Images a second from {px} x {px} JPEG files of generated plates. Only ratios within one table carry over to another day;
another kind of processor gives others.

{markdown_table([rates_row(name, of_network) for name, of_network in rates.items()])}

Usual loop: ImageFolder, DataLoader with a worker for each processor, batches of {LOOP_BATCH}, fp32, eager. Best flags:
the same with bf16 autocast, channels-last and inference mode. From memory: Graft's network without files. Bound:
1 / (1 / from memory + 1 / decoding alone), since both share the processors.

{markdown_table([{"what": title, "measured": value} for title, value in pipeline.items()])}

What a network runs on by default, against torch in fp32, on {NUM_COMPARED} of the plates' files:

{markdown_table(parity_rows)}
"""


def main() -> None:
    """Measure everything and write the report."""
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        scratch, plates = Path(folder), jpeg_plates()
        paths = write_images(scratch / "images", plates, 20 * NUM_PLATES)
        rates = measure_networks(paths, scratch / "images", scratch)
        parity_rows = measure_parity(paths, scratch)
        pipeline = measure_pipeline(plates, scratch, rates["resnet50"].load_seconds)
    write_report(report(rates, pipeline, parity_rows), REPORT)


if __name__ == "__main__":
    run("bench", main)
