"""Beside the pipeline, compare_boxes: how often heat maps point at what a person has marked.

The images are split at random, once for each seed; the default head and the evidence are fitted to half of each class.
On the other half, the place with the highest value, and the estimated box, are compared with the boxes, and with a
point and a box in the middle of the image. The images of the boxes are for nothing but this comparison.

Reads   a folder of classes, a table of boxes (file,label,xmin,ymin,xmax,ymax, in pixels, counted from 1), the bundled
        backbone, params.yaml
Writes  reports/heat_maps.csv, a row for each class, and one for their mean
Run     python -m stages.benchmarks.compare_boxes IMAGES BOXES (minutes)
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.evaluation.explanation import MappedModel, explain_model, format_explanation
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.decode import decode
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.heat_map import Evidence
from stages.graft.model.heat_picture import Box, box_of, heat_over
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv

TABLE = Path("reports/heat_maps.csv")

SEEDS = (10, 11, 12)
"""Of the splits; others than those with which heat maps were developed."""

FIT, CHOOSE, LEAST_OVERLAP = 0.4, 0.1, 0.3
"""Shares of each class for fitting and for choosing; intersection over union from which a box is right."""

MIDDLE = 0.7
"""Side of the box in the middle, as a share of the image's sides: of 0.2 to 1, it is right most often."""

NUM_TURNS = 15
"""Batches in which the cost of heat maps is measured, with and without in turn."""

TRUST_IMAGES = 48
"""Images on which trust is measured, for each seed."""

Marked = Mapping[str, npt.NDArray[np.int64]]
"""By a file's name, its boxes: left, top, right, bottom, shape (m, 4), the last ones outside."""


def main() -> None:
    """Compare on every seed, print and write the means."""
    folder, boxes = Path(sys.argv[1]), read_boxes(Path(sys.argv[2]))
    images = pd.DataFrame(
        [(str(path), path.parent.name) for path in sorted(folder.glob("*/*")) if path.name in boxes],
        columns=["id", "label"],
    )
    rows = pd.concat([compare(images, boxes, seed) for seed in SEEDS])
    table = rows.groupby("label").mean(numeric_only=True)
    table = pd.concat([table, table.mean().to_frame("mean").T]).round(4).rename_axis("label").reset_index()
    write_csv(table, TABLE)
    print(table.to_string(index=False))


def read_boxes(path: Path) -> Marked:
    """Read the table of boxes."""
    table = pd.read_csv(path)
    table[["xmin", "ymin"]] -= 1
    return {
        str(file): np.maximum(rows[["xmin", "ymin", "xmax", "ymax"]].to_numpy(dtype=np.int64), 0)
        for file, rows in table.groupby("file")
    }


def compare(images: pd.DataFrame, boxes: Marked, seed: int) -> pd.DataFrame:
    """Fit a model to a part of the images, and compare its heat maps of the others; a row for each of them."""
    weights = find_weights(load_params("backbone", BackboneParams), Path("data/backbones"))
    runtime = choose_runtime(weights, AUTOMATIC, store_folder() / "networks")
    splits = images.assign(split=assign_splits(images["label"], seed))
    untrained = Head(kind="none", classes=tuple(sorted(set(images["label"]))), layers=())
    model = MappedModel(head=untrained, runtime=runtime, preprocessing=weights.preprocessing, locate=Path)
    model = replace(model, head=fit(model, splits))
    evidence = explain_model(model, splits, TRUST_IMAGES)
    ratio = cost(model, evidence, splits["id"].head(model.batch_size).to_list())
    words = f"{format_explanation(evidence)}; with heat maps, {ratio:.2f} times the processor time"
    print(f"compare_boxes: seed {seed}: {words}", flush=True)
    tested = splits[splits["split"] == "test"]
    rows = list[dict[str, object]]()
    for chunk in batches(tested["id"].to_list(), model.batch_size):
        _, x, maps = model.run(chunk)
        answers = model.answers(x)
        for path, answer, heat in zip(chunk, answers, evidence.heat_maps(maps, answers), strict=True):
            label = Path(path).parent.name
            right = model.head.classes[answer] == label
            rows.append({"label": label, "accuracy": right} | measure(path, heat, boxes, weights.preprocessing))
    return pd.DataFrame(rows)


def cost(model: MappedModel, evidence: Evidence, ids: Sequence[str]) -> float:
    """Give the processor time of answers with heat maps, from files, as a multiple of that of answers alone."""
    compute, times = model.runtime.load(), list[tuple[float, float]]()
    for _ in range(NUM_TURNS):
        start = time.process_time()
        model.head.logits(compute(model.read(ids)))
        between = time.process_time()
        _, x, maps = model.run(ids)
        evidence.heat_maps(maps, model.answers(x))
        times.append((between - start, time.process_time() - between))
    alone, mapped = np.median(times, axis=0)
    return float(mapped / alone)


def assign_splits(labels: "pd.Series[str]", seed: int) -> npt.NDArray[np.str_]:
    """Put a share FIT of each class in train, CHOOSE in val, the rest in test."""
    rng, splits = np.random.default_rng(seed), np.full(len(labels), "test", dtype="<U5")
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        num_fit, num_choose = round(FIT * len(rows)), round(CHOOSE * len(rows))
        splits[rows[:num_fit]], splits[rows[num_fit : num_fit + num_choose]] = "train", "val"
    return splits


def fit(model: MappedModel, splits: pd.DataFrame) -> Head:
    """Fit the default head to the training images."""
    train, val = (feature_set(model, splits[splits["split"] == name]) for name in ("train", "val"))
    return fit_head(load_params("train_head", TrainHeadParams), train, val, lambda *_: None).head


def feature_set(model: MappedModel, images: pd.DataFrame) -> FeatureSet:
    """Compute the features of images."""
    compute, ids = model.runtime.load(), images["id"].to_list()
    rows = [compute(model.read(chunk))[: len(chunk)] for chunk in batches(ids, model.batch_size)]
    y = np.array([model.head.classes.index(label) for label in images["label"]], dtype=np.int64)
    return FeatureSet(ids=tuple(ids), x=np.concatenate(rows), y=y, classes=model.head.classes)


def batches(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut ids into batches."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def measure(path: str, heat: Float32, boxes: Marked, p: Preprocessing) -> dict[str, object]:
    """Compare the heat map of an image with its boxes: is the maximum inside one, is the estimated box one?"""
    marked, (height, width) = boxes[Path(path).name], np.asarray(decode(Path(path).read_bytes())).shape[:2]
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in marked:
        inside[top:bottom, left:right] = True
    hottest = int(heat_over(heat, width, height, p).argmax())
    margin_x, margin_y = round(width * (1 - MIDDLE) / 2), round(height * (1 - MIDDLE) / 2)
    middle = Box(left=margin_x, top=margin_y, right=width - margin_x, bottom=height - margin_y)
    return {
        "point": bool(inside.flat[hottest]),
        "point_in_the_middle": bool(inside[height // 2, width // 2]),
        "random_point": float(inside.mean()),
        "box": overlap(box_of(heat, width, height, p), marked) >= LEAST_OVERLAP,
        "box_in_the_middle": overlap(middle, marked) >= LEAST_OVERLAP,
    }


def overlap(box: Box, marked: npt.NDArray[np.int64]) -> float:
    """Give the largest intersection over union of a box and one of the boxes (m, 4)."""
    columns = np.minimum(box.right, marked[:, 2]) - np.maximum(box.left, marked[:, 0])
    rows = np.minimum(box.bottom, marked[:, 3]) - np.maximum(box.top, marked[:, 1])
    both = np.maximum(columns, 0) * np.maximum(rows, 0)
    areas = (marked[:, 2] - marked[:, 0]) * (marked[:, 3] - marked[:, 1])
    own = (box.right - box.left) * (box.bottom - box.top)
    return float((both / (areas + own - both)).max())


if __name__ == "__main__":
    run("compare_boxes", main, again="python -m stages.benchmarks.compare_boxes")
