"""Beside the pipeline, compare_grouping: what near-duplicates on two sides of a split do to the accuracy reported.

Each set is split with near-duplicates kept together and apart. Two sets are generated: a line that photographs each
plate 1 to 6 times, where the accuracy on plates never seen is known; and scenes saved four times with labels by lot.

Reads   the sources given, the bundled backbone, params.yaml
Writes  reports/grouping.csv, reports/grouping_line.csv (a row for each seed of the line)
Run     python -m stages.benchmarks.compare_grouping NAME=SOURCE... (minutes)
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from stages.benchmarks.measured_sets import MeasuredSet, measure
from stages.benchmarks.planted_duplicates import Picture, Rng, as_jpeg, as_png, crop, light, noise
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.image_groups import DUPLICATES, independent_groups, join_duplicates, leaked
from stages.graft.data.split_assignment import assign_splits
from stages.graft.data.synthetic.plates import CLASSES, PlatesSpec, num_plates, plate
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.classification import group_interval
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.tables import write_csv
from stages.pretraining.transfer_accuracy import LabelledSet, read_set

TABLE, LINE = Path("reports/grouping.csv"), Path("reports/grouping_line.csv")

FRACTION, LEVEL = 0.15, 0.95
"""Share of the images in validation and in test, and the confidence level."""

SHOTS, NUM_SEEDS = (None, 10), 5
"""Training images of each class, and splits, of each set."""

PLATES = PlatesSpec(kind="plates", per_class=40, size_px=240, seed=11, difficulty=0.85)
NEVER_SEEN = PlatesSpec(kind="plates", per_class=60, size_px=240, seed=12, difficulty=0.85)
"""Plates of the line, and others of the same kind that stand for its future."""

PLATES_OF_A_SEED, MAX_PHOTOGRAPHS, LINE_SEEDS = 20, 6, 20
"""Plates of each class that one seed draws, photographs of a plate, and seeds."""

NUM_SCENES, NUM_COPIES, NUM_LABELS = 60, 4, 3
"""Scenes, how often each is saved, and the labels that lots are drawn of."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A head and its accuracy on one split."""

    head: Head
    """The head."""
    accuracy: float
    """On test."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    num_leaked: int
    """Test images with a near-duplicate in train or val."""


def main() -> None:
    """Measure every set given, the scenes and the line."""
    rows = list[dict[str, object]]()
    with temporary_folder(store_folder(), "grouping") as folder:
        for name, _, source in (argument.partition("=") for argument in sys.argv[1:]):
            rows += set_rows(name, measure(read_set(name, source, folder), folder))
        rows += set_rows("scenes with labels by lot", measure(write_scenes(folder / "scenes"), folder))
        write_csv(pd.DataFrame(rows), TABLE)
        line = pd.DataFrame(line_rows(measure(write_line(folder / "line", PLATES, MAX_PHOTOGRAPHS), folder), folder))
    write_csv(line, LINE)
    inside = line.groupby("together")["inside"].sum()
    print(f"compare_grouping: never-seen accuracy inside the interval of {inside.to_dict()} of {LINE_SEEDS} seeds")


def set_rows(name: str, images: MeasuredSet) -> Iterator[dict[str, object]]:
    """Mean accuracies of a set over seeds, with near-duplicates kept together and not."""
    for shots in SHOTS:
        for together in (True, False):
            scored = [score(images, seed, shots, together) for seed in range(NUM_SEEDS)]
            accuracy = np.array([one.accuracy for one in scored])
            row: dict[str, object] = {
                "set": name,
                "train_per_class": str(shots or "all"),
                "together": together,
                "accuracy": round(float(accuracy.mean()), 4),
                "std": round(float(accuracy.std(ddof=1)), 4),
                "low": round(float(np.mean([one.low for one in scored])), 4),
                "high": round(float(np.mean([one.high for one in scored])), 4),
                "num_leaked": round(float(np.mean([one.num_leaked for one in scored])), 1),
                "num_in_groups": int((images.table[DUPLICATES] != "").sum()),
                "num_images": len(images.table),
                "seeds": NUM_SEEDS,
            }
            print(f"compare_grouping: {row}", flush=True)
            yield row


def score(images: MeasuredSet, seed: int, shots: int | None, together: bool) -> Scored:
    """Split the images, fit the pipeline's head, score the test images; intervals of groups only when kept together."""
    table = images.table.assign(group=join_duplicates(images.table)) if together else images.table
    splits = assign_splits(table, seed, FRACTION, FRACTION, shots)
    grouped = replace(images, table=table)
    train, val, test = (feature_set(grouped, splits == name) for name in ("train", "val", "test"))
    head = fit_head(load_params("train_head", TrainHeadParams), train, val, lambda *_: None).head
    correct = head.logits(test.x).argmax(axis=1) == test.y
    groups = independent_groups(table) if together else np.arange(len(table))
    low, high = group_interval(correct, groups[(splits == "test").to_numpy()], LEVEL)
    num_leaked = int(leaked(table.assign(split=splits)).sum())
    return Scored(head=head, accuracy=float(correct.mean()), low=low, high=high, num_leaked=num_leaked)


def feature_set(images: MeasuredSet, chosen: "pd.Series[bool]") -> FeatureSet:
    """Features and class indices of some images."""
    classes = tuple(sorted(set(images.table["label"])))
    labels = images.table["label"][chosen].to_numpy(dtype=str)
    y = np.searchsorted(np.array(classes), labels).astype(np.int64)
    ids, groups = (tuple(images.table[name][chosen]) for name in ("id", "group"))
    return FeatureSet(ids=ids, x=images.x[chosen.to_numpy()], y=y, classes=classes, groups=groups)


def line_rows(line: MeasuredSet, folder: Path) -> Iterator[dict[str, object]]:
    """For each seed, the accuracy that is reported and the one on plates never seen."""
    future = measure(write_line(folder / "future", NEVER_SEEN, 1), folder)
    everything = feature_set(future, pd.Series(True, future.table.index))
    for seed in range(LINE_SEEDS):
        plates = np.random.default_rng(seed).permutation(PLATES.per_class)[:PLATES_OF_A_SEED].astype(str)
        images = line.rows(line.table["plate"].isin(plates))
        for together in (True, False):
            scored = score(images, seed, None, together)
            true = float((scored.head.logits(everything.x).argmax(axis=1) == everything.y).mean())
            numbers = {"accuracy": scored.accuracy, "low": scored.low, "high": scored.high, "never_seen": true}
            row: dict[str, object] = {"seed": seed, "together": together, "num_images": len(images.table)}
            row |= {name: round(value, 4) for name, value in numbers.items()}
            yield row | {"num_leaked": scored.num_leaked, "inside": scored.low <= true <= scored.high}


def write_line(folder: Path, spec: PlatesSpec, most: int) -> LabelledSet:
    """Photograph each plate 1 to `most` times, with a shift, light and noise of its own."""
    rng, source = np.random.default_rng(spec.seed), folder / "source"
    plate_of = {}
    for index in range(num_plates(spec)):
        file, label, data = plate(spec, index)
        whole = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
        for number in range(int(rng.integers(1, most + 1))):
            path = source / label / f"{Path(file).stem}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_png(photograph(whole, rng)))
            plate_of[sha256_of(path)] = str(index // len(CLASSES))
    line = read_set("line", str(source), folder)
    return replace(line, table=line.table.assign(plate=line.table["id"].map(plate_of)))


def photograph(whole: Picture, rng: Rng) -> Picture:
    """Photograph a part of a plate: the camera sees 200 of its 240 pixels."""
    top, left = rng.integers(10, 31, 2)
    return noise(light(whole[top : top + 200, left : left + 200], rng, 0.15), rng, 3)


def write_scenes(folder: Path) -> LabelledSet:
    """Save each of some plates four times, with a label by lot."""
    rng, source = np.random.default_rng(0), folder / "source"
    for index in range(NUM_SCENES):
        whole = np.asarray(cv2.imdecode(np.frombuffer(plate(PLATES, index)[2], np.uint8), cv2.IMREAD_COLOR), np.uint8)
        label = f"label {rng.integers(NUM_LABELS)}"
        for number in range(NUM_COPIES):
            path = source / label / f"{index}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_png(as_jpeg(np.ascontiguousarray(crop(whole, rng, 0.95)), int(rng.integers(70, 96)))))
    return read_set("scenes", str(source), folder)


if __name__ == "__main__":
    run("compare_grouping", main, again="python -m stages.benchmarks.compare_grouping")
