"""Beside the pipeline, bench_finetuning: what fine-tuning costs on this machine, as ratios within one run.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.benchmarks.bench_extraction import BACKBONES, jpeg_plates, machine, table
from stages.finetune import FinetuneParams
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.manifest import ManifestRow, image_path, write_manifest
from stages.graft.data.splits import write_splits
from stages.graft.heads.head import Head
from stages.graft.storage.files import write_text
from stages.graft.training.finetune_loop import FinetuneRecipe
from stages.graft.training.finetune_task import PipelineFiles, TrainableScope, finetune_from_files

REPORT = Path("reports/bench_finetuning.md")

NUM_TRAIN, NUM_VAL = 56, 12
"""Images: in the proportion of a 70/15/15 split."""

FEW_VAL = 2
"""Images to choose with where epochs of training alone are compared: scoring is always fp32."""

NUM_REPEATS = 3
"""Of every pair; medians are reported."""

EPOCHS = 10
"""Of the partial trainings."""

NUM_FEATURES = {"resnet18": 512, "resnet50": 2048}
"""That a head on each takes."""

BOUNDARIES: tuple[str | int, ...] = ("layer4", 1)
"""Where training begins: the last stage; the last block."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two ways to the same training, timed in turn."""

    title: str
    """What is trained."""
    slow: dict[str, Any]
    """Parameters of the one."""
    fast: dict[str, Any]
    """Parameters of the other."""


def partial_pair(name: str, boundary: str | int) -> Pair:
    """Set the frozen part's output computed once beside the whole forward pass in every epoch."""
    shared = {"network": name, "strategy": "partial", "unfreeze_from": boundary, "epochs": EPOCHS}
    title = f"{name}, " + ("its last block" if boundary == 1 else f"from {boundary}")
    return Pair(title=title, slow=shared | {"cache_gb": 0.0}, fast=shared)


def precision_pair(name: str) -> Pair:
    """Set an epoch of the whole network in bf16 beside one in fp32."""
    shared = {"network": name, "strategy": "full", "epochs": 1}
    return Pair(title=name, slow=shared | {"precision": "fp32"}, fast=shared | {"precision": "bf16"})


def write_plates(folder: Path, plates: Sequence[bytes], num_val: int) -> PipelineFiles:
    """Write plates as the stages before finetune would have left them."""
    ids = []
    for data in plates[: NUM_TRAIN + num_val]:
        ids.append(hashlib.sha256(data).hexdigest())
        path = image_path(folder / "images", ids[-1], "JPEG")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    labels = [f"class{number % 2}" for number in range(len(ids))]
    rows = [
        ManifestRow(id=id_, file=id_, label=label, group="", split="", width=1, height=1, format="JPEG", mode="RGB")
        for id_, label in zip(ids, labels, strict=True)
    ]
    write_manifest(rows, folder / "manifest.csv")
    splits = ["train"] * NUM_TRAIN + ["val"] * num_val
    write_splits(pd.DataFrame({"id": ids, "label": labels, "split": splits}), folder / "splits.csv")
    return PipelineFiles(
        images=folder / "images", manifest=folder / "manifest.csv", splits=folder / "splits.csv", store=folder
    )


def seconds(files: PipelineFiles, params: FinetuneParams, changes: Mapping[str, Any]) -> float:
    """Time one training from files with an empty store, loading the network included."""
    values = params.model_dump() | {"patience": 1000, **changes}
    recipe = FinetuneRecipe(**{name: values[name] for name in FinetuneRecipe.__dataclass_fields__})
    boundary = values["unfreeze_from"] if values["strategy"] == "partial" else None
    extent = TrainableScope(
        unfreeze_from=boundary,
        augmentation=values["augmentation"],
        views=values["views"],
        cache_gb=values["cache_gb"],
    )
    backbone = BackboneParams(name=values["network"], weights="random", sha256=None, input_px=None)
    layer = (np.zeros((2, NUM_FEATURES[values["network"]]), np.float32), np.zeros(2, np.float32))
    head = Head(kind="logistic", classes=("class0", "class1"), layers=(layer,))
    quiet = contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory(dir=files.store) as store, quiet[0], quiet[1]:
        here = PipelineFiles(**{**vars(files), "store": Path(store)})
        start = time.perf_counter()
        finetune_from_files(head, find_weights(backbone, BACKBONES), here, recipe, extent, lambda *_: None)
        return time.perf_counter() - start


def measure(files: PipelineFiles, params: FinetuneParams, pair: Pair) -> tuple[str, ...]:
    """Time both ways in turn; a row of the report."""
    times = [(seconds(files, params, pair.slow), seconds(files, params, pair.fast)) for _ in range(NUM_REPEATS)]
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    print(f"bench_finetuning: {pair.title}: {slow:.1f} s, {fast:.1f} s, {ratio:.2f} times", flush=True)
    return pair.title, f"{slow:.1f} s", f"{fast:.1f} s", f"**{ratio:.2f}**"


TEXT = """# The speed of fine-tuning, measured by `python -m stages.benchmarks.bench_finetuning`

{machine}. {num_train} images to train on and {num_val} to choose with, JPEG files of 200 x 200 pixels, at 224 x 224;
random weights; medians of {repeats} runs of each, in turn. Every time is of a whole training with an empty store: the
network loaded, the frozen part's {views} views computed and written, and validation after every epoch. Only ratios
carry over to another day; another kind of processor gives others.

{epochs} epochs of `strategy: partial`, the rest as in params.yaml:

{partial}

The bound is the number of views: they cost {views} of the {epochs} passes through the frozen part.

One epoch of `strategy: full`, {few} images to choose with:

{precision}
"""


def main() -> None:
    """Measure every pair and write the report."""
    params = load_params("finetune", FinetuneParams)
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        plates = jpeg_plates()
        files = write_plates(Path(folder) / "partial", plates, NUM_VAL)
        partial = [measure(files, params, partial_pair("resnet50", boundary)) for boundary in BOUNDARIES]
        files = write_plates(Path(folder) / "precision", plates, FEW_VAL)
        precision = [measure(files, params, precision_pair(name)) for name in NUM_FEATURES]
    whole = ("trained", "whole forward pass in every epoch", "frozen part kept", "times as fast")
    text = TEXT.format(
        machine=machine(),
        num_train=NUM_TRAIN,
        num_val=NUM_VAL,
        repeats=NUM_REPEATS,
        views=params.views,
        few=FEW_VAL,
        epochs=EPOCHS,
        partial=table(whole, partial),
        precision=table(("network", "fp32", "bf16", "times as fast"), precision),
    )
    write_text(text, REPORT)
    print(text)


if __name__ == "__main__":
    run("bench_finetuning", main)
