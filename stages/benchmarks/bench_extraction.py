"""Beside the pipeline, bench: how fast extraction and re-runs are on this machine, as ratios within one run.

Reads   the committed state of the repository, the bundled backbone; generates its images in a temporary folder
Writes  reports/bench.md
Run     make bench (about a quarter of an hour on two processors; nothing else should run beside it)
"""

import hashlib
import io
import platform
import statistics
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from stages.benchmarks.rates import (
    LOOP_BATCH,
    NUM_COMPARED,
    Rates,
    measure_rates,
    parity,
    prediction_rates,
    write_images,
)
from stages.benchmarks.sandbox import Workplace, idle_repro
from stages.graft.backbone.openvino_runtime import computes_in_bf16
from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import BackboneParams, Weights, find_weights
from stages.graft.core.params import load_spec
from stages.graft.core.progress import bar
from stages.graft.core.stage import run
from stages.graft.core.threads import num_cpus
from stages.graft.data.synthetic.plates import PlatesSpec, plate
from stages.graft.model.predictor import load_predictor
from stages.graft.storage.files import write_text

BACKBONES, PLATES, REPORT = Path("data/backbones"), Path("data/plates.yaml"), Path("reports/bench.md")

NETWORKS = {"resnet50": "random", "vgg19": "random", "mobilenet_v3_small": "random", "regnet_x_400mf": "bundled"}
"""Speed does not depend on what the weights are."""

FAMILIES = (
    "alexnet", "vgg19", "resnet50", "inception_v3", "googlenet", "densenet121", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "convnext_tiny", "regnet_y_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "mnasnet1_0",
    "vit_b_16", "swin_t", "maxvit_t",
)  # fmt: skip
"""Whose features are compared with torch's, with random weights."""

SECONDS = 10.0
"""Of each rate."""

NUM_PICTURES = 300
"""Different plates; further files are the same pictures under other ids."""

NUM_RERUN, NUM_NEW = 1200, 12
"""Images of the timed re-runs, and those added: 1%."""

Row = tuple[str, ...]


def jpeg_plates() -> list[bytes]:
    """Generate plates and save them as JPEG files, grey as RGB, as cameras do."""
    spec = load_spec(PLATES, PlatesSpec)
    spec = spec.model_copy(update={"per_class": NUM_PICTURES // 6})
    files = []
    for index in bar(range(NUM_PICTURES), desc="bench: plates", unit="plates"):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(plate(spec, index)[2])).convert("RGB").save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def weights_of(name: str, kind: str) -> Weights:
    """Find a network's weights as the pipeline does."""
    return find_weights(BackboneParams(name=name, weights=kind, sha256=None, input_px=None), BACKBONES)


def measure_parity(paths: dict[str, Path], scratch: Path) -> list[Row]:
    """Compare what each family runs on by default with torch in fp32, on plates."""
    rows: list[Row] = []
    for name, kind in {**dict.fromkeys(FAMILIES, "random"), "regnet_x_400mf": "bundled"}.items():
        weights = weights_of(name, kind)
        runtime = choose_runtime(weights, AUTOMATIC, scratch / "networks")
        mean, worst = parity(weights, runtime, list(paths), paths.__getitem__)
        rows.append((f"{name}, {kind} weights", _short(runtime), f"{mean:.5f}", f"{worst:.5f}"))
    return rows


def _short(runtime: Runtime) -> str:
    return f"{str(runtime.record['runtime']).split('-')[0]}, {runtime.record['precision']}"


def measure_networks(paths: dict[str, Path], images: Path, scratch: Path) -> dict[str, tuple[Rates, str]]:
    """Measure every network's rates; also what it ran on."""
    found = {}
    for name, kind in NETWORKS.items():
        print(f"bench: {name}")
        weights = weights_of(name, kind)
        runtime = choose_runtime(weights, AUTOMATIC, scratch / "networks")
        rates = measure_rates(weights, runtime, images, list(paths), paths.__getitem__, scratch / name, SECONDS)
        found[name] = rates, _short(runtime)
        print(f"bench: {name}: {rates.loop:.0f} to {rates.graft:.0f} images/s")
    return found


def rate_rows(found: dict[str, tuple[Rates, str]]) -> list[Row]:
    """Rates, and what they are against each other."""
    return [
        (
            name,
            f"{r.loop:.1f}",
            f"{r.best_loop:.1f}",
            f"{r.graft:.1f}",
            f"{r.ceiling:.1f}",
            f"{r.decoding:.0f}",
            f"**{r.graft / r.loop:.1f}**",
            f"**{r.graft / r.best_loop:.1f}**",
            f"{r.graft / r.bound:.2f}",
            runtime,
        )
        for name, (r, runtime) in found.items()
    ]


def measure_starts(place: Workplace, pictures: Sequence[bytes], source: Path) -> list[Row]:
    """Time resnet50 from nothing, and again on other images: whole processes, of one batch of images each.

    The first also extracts the images of nothing that `evaluate` asks about; they are in the store from then on.
    """
    place.set_params({"backbone": {"name": "resnet50", "weights": "random"}})
    seconds = []
    for start in (b"first", b"second", b"third", b"fourth"):  # behind a JPEG's end: another file, the same picture
        write_images(source, [picture + start for picture in pictures[:8]], 8)
        place.stage_seconds("ingest")
        seconds.append(place.stage_seconds("extract"))
    cold, warm = seconds[0], min(seconds[1:])
    modules = place.loaded_modules("extract")
    return [
        ("cold start, resnet50: conversion, comparison with torch, first batch, file written", f"{cold:.1f} s"),
        ("second start, resnet50: the same with the converted network at hand, best of three", f"{warm:.2f} s"),
        ("torch imported at the second start", "yes" if "torch" in modules else "no"),
    ]


def measure_reruns(place: Workplace, pictures: Sequence[bytes], source: Path, load_seconds: float) -> list[Row]:
    """Time re-runs on 1,200 images: 1% new ones with resnet50, then nothing new and a head parameter by default."""
    write_images(source, list(pictures), NUM_RERUN)
    place.stage_seconds("ingest")
    cold = place.stage_seconds("extract")
    idle = place.stage_seconds("extract", repeats=3) + load_seconds
    more = []
    for turn in range(3):
        write_images(source, list(pictures), NUM_RERUN + (turn + 1) * NUM_NEW)
        place.stage_seconds("ingest")
        more.append(place.stage_seconds("extract"))
    new, num_images = statistics.median(more), NUM_RERUN + len(more) * NUM_NEW
    place.set_params({"backbone": {"name": "regnet_x_400mf", "weights": "bundled"}})
    place.seconds("dvc", "repro")
    predicting, extracting = prediction_rates(
        load_predictor(place.folder), sorted((place.folder / "data/images").iterdir()), source.parent / "predict"
    )
    with tempfile.TemporaryDirectory(dir=source.parent) as copies:
        turns = idle_repro(place, Path(copies))
    nothing, copying, reporting = (statistics.median(column) for column in zip(*turns, strict=True))
    ratios = statistics.median(a / b for a, b, _ in turns), statistics.median(a / c for a, _, c in turns)
    place.set_params({"train_head": {"kind": "prototype"}})
    stages = ("train_head", "finetune", "evaluate")
    work = [place.stage_seconds(stage, repeats=3) for stage in stages]
    imports = [place.import_seconds(stage) for stage in stages]
    place.set_params({"train_head": {"kind": "logistic", "class_weight": "balanced"}})
    repro = place.seconds("dvc", "repro")
    return [
        (f"{NUM_NEW} new images among {NUM_RERUN}, resnet50: share of the cold run, without start-up; median of three "
         f"({new:.2f} s; start-up {idle:.2f} s, cold {cold:.1f} s)", f"{(new - idle) / (cold - idle):.1%}"),
        (f"nothing changed, {num_images} images in a folder: `dvc repro` against six `cp` stages "
         f"({nothing:.2f} s, {copying:.2f} s; medians of {len(turns)} in turns)", f"{ratios[0]:.2f}"),
        (f"the same against six `cp` stages with DVC's analytics, which `dvc init` leaves on ({reporting:.2f} s)",
         f"{ratios[1]:.2f}"),
        (f"a new head parameter, {NUM_RERUN} images: three stages against the import of what they need "
         f"({sum(work):.2f} s, {sum(imports):.2f} s)", f"{sum(work) / sum(imports):.2f}"),
        ("the same through `dvc repro`, with publishing to MLflow", f"{repro:.1f} s"),
        (f"`graft predict`'s rows against extraction, bundled network, {num_images} images, networks loaded "
         f"({predicting:.0f}, {extracting:.0f} images/s)", f"{predicting / extracting:.2f}"),
    ]  # fmt: skip


def measure_memory(place: Workplace, pictures: Sequence[bytes], source: Path) -> list[Row]:
    """Peak memory of extraction with the bundled backbone, for 2,000 and 20,000 images."""
    peaks = []
    for number in (2000, 20_000):
        write_images(source, list(pictures), number)
        place.stage_seconds("ingest")
        peaks.append(place.peak_megabytes("extract"))
    text = f"peak memory of extraction, 20,000 images against 2,000 ({peaks[1]:.0f} MB, {peaks[0]:.0f} MB)"
    return [(text, f"{peaks[1] / peaks[0]:.2f}")]


def machine() -> str:
    """Describe the processor and the libraries."""
    name = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if platform.system() == "Linux" else ""
    able = [word for word, flag in (("AMX", "amx_bf16"), ("AVX512-BF16", "avx512_bf16")) if flag in flags]
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "torchvision", "openvino"))
    bf16 = "computes in bf16" if computes_in_bf16() else "no bf16"
    return (
        f"{name}, {num_cpus()} processors, {' and '.join(able) or 'neither AMX nor AVX512-BF16'} ({bf16}); {libraries}"
    )


def table(header: Sequence[str], rows: Sequence[Row]) -> str:
    """Lay rows out as Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


RATES = (
    "network", "usual loop", "best flags", "Graft", "from memory", "decoding alone",
    "Graft / loop", "Graft / best flags", "Graft / bound", "runs on",
)  # fmt: skip

TEXT = """# Speed, measured by `make bench`

{machine}.
Images a second from {px} x {px} JPEG files of generated plates. Only ratios within one table carry over to another day;
another kind of processor gives others.

{rates}

Usual loop: ImageFolder, DataLoader with a worker for each processor, batches of {batch}, fp32, eager. Best flags: the
same with bf16 autocast, channels-last and inference mode. From memory: Graft's network without files. Bound:
1 / (1 / from memory + 1 / decoding alone), since both share the processors.

{rest}

What a network runs on by default, against torch in fp32, on {compared} of the plates' files:

{likeness}
"""


def main() -> None:
    """Measure everything and write the report."""
    repository = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        scratch = Path(folder)
        pictures = jpeg_plates()
        write_images(scratch / "images", pictures, 20 * NUM_PICTURES)
        files = sorted((scratch / "images").rglob("*.jpg"))
        paths = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}
        found = measure_networks(paths, scratch / "images", scratch)
        agreement = measure_parity(paths, scratch)
        place, source = Workplace(scratch / "clone", repository, scratch / "source"), scratch / "source"
        print("bench: starts, re-runs, memory")
        rows = measure_starts(place, pictures, source)
        rows += measure_reruns(place, pictures, source, found["resnet50"][0].load_seconds)
        rows += measure_memory(place, pictures, source)
    px = load_spec(PLATES, PlatesSpec).size_px
    rates, rest = table(RATES, rate_rows(found)), table(("what", "measured"), rows)
    likeness = table(("network", "runs on", "mean cosine", "worst cosine"), agreement)
    text = TEXT.format(
        machine=machine(), px=px, rates=rates, batch=LOOP_BATCH, rest=rest, compared=NUM_COMPARED, likeness=likeness
    )
    write_text(text, REPORT)
    print(text)


if __name__ == "__main__":
    run("bench", main)
