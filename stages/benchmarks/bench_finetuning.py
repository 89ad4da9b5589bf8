"""Beside the pipeline, bench_finetuning: the time of fine-tuning on this machine, as ratios within one run.

Reads   the section finetune of params.yaml; generates its images in a temporary folder
Writes  reports/bench_finetuning.md
Run     python -m stages.benchmarks.bench_finetuning (a quarter of an hour, with nothing beside it)
"""

import contextlib
import hashlib
import io
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.benchmarks.generated_images import jpeg_plates
from stages.benchmarks.rates import network_weights
from stages.benchmarks.report_parts import Row, machine_description, markdown_table, write_report
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.image_locations import image_path
from stages.graft.data.manifest import ManifestRow, write_manifest
from stages.graft.heads.head import Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.training.finetune_params import FinetuneParams
from stages.graft.training.finetune_task import FinetuneTask, PipelineFiles, finetune_from_files

REPORT = Path("reports/bench_finetuning.md")

NUM_TRAIN, NUM_VAL = 56, 12
"""Images, in the proportion of a 70/15/15 split."""

NUM_VAL_FEW = 2
"""Validation images where epochs of training are compared: scoring is fp32 in both."""

NUM_REPEATS = 3
"""Runs of each training; medians are reported."""

EPOCHS = 10
"""Epochs of the partial trainings."""

BOUNDARIES = {"resnet50, from layer4": "layer4", "resnet50, its last block": 1}
"""Where partial training begins: at the last stage; at the last block."""

NUM_FEATURES = {"resnet18": 512, "resnet50": 2048}
"""Number of features of each network, which its head takes."""


def write_plates(folder: Path, plates: Sequence[bytes], num_val: int) -> PipelineFiles:
    """Write plates as the stages before finetune would leave them."""
    data = {hashlib.sha256(plate).hexdigest(): plate for plate in plates[: NUM_TRAIN + num_val]}
    for id_, plate in data.items():
        path = image_path(folder / "images", id_, "JPEG")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(plate)
    labels = [f"class{number % 2}" for number in range(len(data))]
    splits = ["train"] * NUM_TRAIN + ["val"] * num_val
    rows = [
        ManifestRow(id=id_, file=id_, label=label, group="", split=split, width=1, height=1, format="JPEG", mode="RGB")
        for id_, label, split in zip(data, labels, splits, strict=True)
    ]
    write_manifest(rows, folder / "splits.csv")
    return PipelineFiles(images=folder / "images", splits=folder / "splits.csv", store=folder)


def training_seconds(files: PipelineFiles, network: str, params: FinetuneParams) -> float:
    """Time one training from files with an empty store, loading of the network included."""
    layer = np.zeros((2, NUM_FEATURES[network]), np.float32), np.zeros(2, np.float32)
    head = Head(kind="logistic", classes=("class0", "class1"), layers=(layer,))
    out = io.StringIO()
    with (
        tempfile.TemporaryDirectory(dir=files.store) as store,
        contextlib.redirect_stderr(out),
        contextlib.redirect_stdout(out),
    ):
        start = time.perf_counter()
        weights, files = network_weights(network, "random"), replace(files, store=Path(store))
        head_params = load_params("train_head", TrainHeadParams)
        task = FinetuneTask(head=head, weights=weights, files=files, params=params, head_params=head_params)
        finetune_from_files(task, lambda *_: None)
        return time.perf_counter() - start


def compare(files: PipelineFiles, network: str, trainings: Mapping[str, FinetuneParams]) -> dict[str, str]:
    """Time a slow and a fast training in turn; return cells of the report: the seconds of each, and the ratio."""
    times = [[training_seconds(files, network, params) for params in trainings.values()] for _ in range(NUM_REPEATS)]
    seconds = [f"{statistics.median(column):.1f} s" for column in zip(*times, strict=True)]
    ratio = statistics.median(slow_time / fast_time for slow_time, fast_time in times)
    print(f"bench_finetuning: {network}: {seconds[0]}, {seconds[1]}, {ratio:.2f} times", flush=True)
    return dict(zip(trainings, seconds, strict=True)) | {"times as fast": f"**{ratio:.2f}**"}


def partial_rows(files: PipelineFiles, params: FinetuneParams) -> list[Row]:
    """Compare a whole forward pass in every epoch with the frozen part's output computed once."""
    rows = list[Row]()
    for title, boundary in BOUNDARIES.items():
        kept = params.model_copy(update={"strategy": "partial", "epochs": EPOCHS, "unfreeze_from": boundary})
        computed = kept.model_copy(update={"cache_gb": 0.0})
        trainings = {"whole forward pass in every epoch": computed, "frozen part kept": kept}
        rows.append({"trained": title} | compare(files, "resnet50", trainings))
    return rows


def precision_rows(files: PipelineFiles, params: FinetuneParams) -> list[Row]:
    """Compare an epoch of the whole network in fp32 with one in bf16."""
    fp32 = params.model_copy(update={"strategy": "full", "epochs": 1, "precision": "fp32"})
    trainings = {"fp32": fp32, "bf16": fp32.model_copy(update={"precision": "bf16"})}
    return [{"network": network} | compare(files, network, trainings) for network in NUM_FEATURES]


def report(partial: list[Row], precision: list[Row], views: int) -> str:
    """Format the results."""
    return f"""# The speed of fine-tuning, measured by `python -m stages.benchmarks.bench_finetuning`

{machine_description()}.
{NUM_TRAIN} images to train on and {NUM_VAL} to choose with, JPEG files of 200 x 200 pixels, at 224 x 224;
random weights; medians of {NUM_REPEATS} runs of each, in turn. Every time is of a whole training with an empty store:
the network loaded, the frozen part's {views} views computed and written, and validation after every epoch. Only ratios
carry over to another day; another kind of processor gives others.

{EPOCHS} epochs of `strategy: partial`, the rest as in params.yaml:

{markdown_table(partial)}

The bound is the number of views: they cost {views} of the {EPOCHS} passes through the frozen part.

One epoch of `strategy: full`, {NUM_VAL_FEW} images to choose with:

{markdown_table(precision)}
"""


def main() -> None:
    """Measure every pair and write the report."""
    params = load_params("finetune", FinetuneParams)
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        plates = jpeg_plates()
        partial = partial_rows(write_plates(Path(folder) / "partial", plates, NUM_VAL), params)
        precision = precision_rows(write_plates(Path(folder) / "precision", plates, NUM_VAL_FEW), params)
    write_report(report(partial, precision, params.views), REPORT)


if __name__ == "__main__":
    run("bench_finetuning", main)
