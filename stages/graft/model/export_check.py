"""The check of an exported model: its answers compared with the pipeline's, and its speed on this machine.

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
from stages.graft.model.exported_graph import Run
from stages.graft.model.predictor import Explained, ImageFile, Predictor, probability_column
from stages.graft.model.whole_model import HEAT, OUTPUTS, WholeModel
from stages.graft.storage.arrays import Array

NUM_SAMPLES = 64
"""Images that are compared with torch, which is slow."""

SECONDS = 3.0
"""Duration of each measurement of speed."""

NUM_DIGITS = 8
"""Decimal digits of differences."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The expected answers to n images."""

    squares: Batch
    """Pixels, shape (n, h, w, 3), uint8."""
    answers: Mapping[str, Array]
    """Arrays named like an exported model's outputs."""


def references(predictor: Predictor, files: Sequence[ImageFile], maps: bool = False) -> Iterator[Reference]:
    """Classify images with the pipeline's own runtime, a batch at a time, with heat maps if `maps`; files that are no
    images are left out."""
    without = (Explained(row=row, heat=None) for row in predictor.predict(files))
    explained, remaining = predictor.explain(files) if maps else without, iter(files)
    columns, p = [probability_column(label) for label in predictor.classes], predictor.preprocessing
    while chunk := list(islice(remaining, predictor.batch_size)):
        answered = [(file, one) for file, one in zip(chunk, explained, strict=False) if one.row["error"] is None]
        if answered:
            answers = {name: np.array([one.row[name] for _, one in answered]) for name in list(OUTPUTS)[1:]}
            answers["probabilities"] = np.array([[one.row[name] for name in columns] for _, one in answered])
            if maps:
                answers |= {name: np.array([one.heat for _, one in answered]) for name in HEAT}
            squares = [decode_square(file.read(), p) for file, _ in answered]
            yield Reference(squares=np.stack(squares), answers=answers)


def compare(runs: Mapping[str, Run], images: Iterable[Reference]) -> dict[str, dict[str, Any]]:
    """Compare each way to run an exported model with the expected answers; give the `differences` by its name.

    Raises:
        DataError: there is no image.
    """
    answers: dict[str, list[Mapping[str, Array]]] = {name: [] for name in runs}
    expected: list[Mapping[str, Array]] = []
    for reference in images:
        expected.append(reference.answers)
        for name, run in runs.items():
            answers[name].append(run(reference.squares))
    if not expected:
        raise DataError("there is no readable image to compare the exported model on")
    return {name: differences(_joined(parts), _joined(expected)) for name, parts in answers.items()}


def differences(answers: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, Any]:
    """Count the images with the same answers, and give the largest differences of the numbers."""
    labels, expected_labels = (some["probabilities"].argmax(axis=1) for some in (answers, expected))
    record: dict[str, Any] = {"num_images": len(labels), "same_label": int((labels == expected_labels).sum())}
    record |= {f"same_{name}": int((answers[name] == expected[name]).sum()) for name in ("unsure", "unknown")}
    for name in ("probabilities", "distance", *(name for name in HEAT if name in answers)):
        record[f"max_difference_{name}"] = round(float(np.abs(answers[name] - expected[name]).max()), NUM_DIGITS)
    return record


def torch_run(model: WholeModel) -> Run:
    """Run the model from which a graph is exported in torch, in fp32."""

    def compute(images: Batch) -> Mapping[str, Array]:
        with torch.inference_mode():
            return {name: out.numpy() for name, out in zip(model.outputs, model(torch.from_numpy(images)), strict=True)}

    return compute


def answered_by(run: Run, images: Sequence[Reference]) -> list[Reference]:
    """Replace the expected answers by those of a way to run the model."""
    return [Reference(squares=reference.squares, answers=run(reference.squares)) for reference in images]


def speed(run_single: Run, run_batch: Run, squares: Batch) -> dict[str, Any]:
    """Measure the median latency of one image in milliseconds, and images per second in batches.

    Args:
        run_single: model loaded for one image at a time.
        run_batch: model loaded for batches of all squares.
        squares: images, uint8, shape (n, h, w, 3).
    """
    return {
        "latency_ms": round(1000 * _median_seconds(run_single, squares[:1]), 2),
        "batch_size": len(squares),
        "images_per_second": round(len(squares) / _median_seconds(run_batch, squares), 1),
        "processor": openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "num_processors": num_cpus(),
    }


def _median_seconds(run: Run, squares: Batch) -> float:
    """Give the median time of a call; the first call is not counted."""
    run(squares)
    times: list[float] = []
    while sum(times) < SECONDS:
        start = time.perf_counter()
        run(squares)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
