"""What an exported model is worth: its answers beside the pipeline's own, and its speed on this machine.

Letters: n images, c classes.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.core.errors import DataError
from stages.graft.core.threads import num_cpus
from stages.graft.images.crop import decode_square
from stages.graft.images.decode import Batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.exported_graph import Run
from stages.graft.model.predictor import ImageFile, Predictor, probability_column
from stages.graft.model.whole_model import OUTPUTS, WholeModel
from stages.graft.storage.arrays import Array

NUM_SAMPLES = 64
"""Images, about, that torch computes too, slowly."""

SECONDS = 3.0
"""Of each measurement of speed."""

NUM_DIGITS = 8
"""Of differences."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the pipeline says of n images."""

    squares: Batch
    """Their pixels, shape (n, h, w, 3), uint8."""
    answers: Mapping[str, Array]
    """As an exported model's outputs."""


def references(predictor: Predictor, files: Sequence[ImageFile]) -> Iterator[Reference]:
    """Have the pipeline's own runtime answer images, a batch at a time; files that are no images are left out."""
    rows, rest = predictor.predict(files), iter(files)
    while chunk := list(islice(rest, predictor.batch_size)):
        good = [(file, row) for file, row in zip(chunk, rows, strict=False) if row["error"] is None]
        if good:
            names = [probability_column(label) for label in predictor.classes]
            answers = {name: np.array([row[name] for _, row in good]) for name in list(OUTPUTS)[1:]}
            answers["probabilities"] = np.array([[row[name] for name in names] for _, row in good])
            squares = np.stack([_square(file.read(), predictor.preprocessing) for file, _ in good])
            yield Reference(squares=squares, answers=answers)


def compare(runs: Mapping[str, Run], images: Iterable[Reference]) -> dict[str, dict[str, Any]]:
    """Count and measure where each way to run an exported model differs from the pipeline.

    Args:
        runs: by name.
        images: taken once, one by one.
    Raises:
        DataError: there is no image.
    """
    found: dict[str, list[Mapping[str, Array]]] = {name: [] for name in runs}
    expected: list[Mapping[str, Array]] = []
    for one in images:
        expected.append(one.answers)
        for name, run in runs.items():
            found[name].append(run(one.squares))
    if not expected:
        raise DataError("there is no readable image to compare the exported model on")
    return {name: differences(_joined(parts), _joined(expected)) for name, parts in found.items()}


def differences(found: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, Any]:
    """Compare answers to n images: counts of those answered alike, and the largest differences."""
    labels = [answers["probabilities"].argmax(axis=1) for answers in (found, expected)]
    record: dict[str, Any] = {"num_images": len(labels[0]), "same_label": int((labels[0] == labels[1]).sum())}
    record |= {f"same_{name}": int((found[name] == expected[name]).sum()) for name in ("unsure", "unknown")}
    for name in ("probabilities", "distance"):
        record[f"max_difference_{name}"] = round(float(np.abs(found[name] - expected[name]).max()), NUM_DIGITS)
    return record


def torch_run(model: WholeModel) -> Run:
    """Run the same model in torch, in fp32: what an exported graph was made from."""

    def compute(images: Batch) -> Mapping[str, Array]:
        with torch.inference_mode():
            return {name: out.numpy() for name, out in zip(OUTPUTS, model(torch.from_numpy(images)), strict=True)}

    return compute


def answered_by(run: Run, images: Sequence[Reference]) -> list[Reference]:
    """Give the same images with the answers of another way to run the model."""
    return [Reference(squares=one.squares, answers=run(one.squares)) for one in images]


def speed(one: Run, many: Run, squares: Batch) -> dict[str, Any]:
    """Measure a graph loaded for one image at a time, and one for batches.

    Returns:
        The median latency of one image in milliseconds, and images a second in batches.
    """
    alone = _times(one, squares[:1])
    together = _times(many, squares)
    return {
        "latency_ms": round(1000 * float(np.median(alone)), 2),
        "batch_size": len(squares),
        "images_per_second": round(len(squares) / float(np.median(together)), 1),
        "processor": openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "num_processors": num_cpus(),
    }


def _times(run: Run, squares: Batch) -> list[float]:
    """Seconds of each call after the first."""
    run(squares)
    times: list[float] = []
    while sum(times) < SECONDS:
        start = time.perf_counter()
        run(squares)
        times.append(time.perf_counter() - start)
    return times


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}


def _square(data: bytes, p: Preprocessing) -> Batch:
    return decode_square(data, p.resize_px, p.crop_px, p.interpolation)
