"""Beside the pipeline, compare_unknown: how often known images and those of classes held out are called unknown.

Each set is split with several seeds. The false alarms on test are compared with the rate that was asked for, and the
detector with one that weighs all directions equally.

Reads   the sources given, the bundled backbone, params.yaml
Writes  reports/unknown.csv (a row for each split)
Run     python -m stages.benchmarks.compare_unknown NAME=SOURCE... (minutes)
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from stages.benchmarks.measured_sets import MeasuredSet, measure
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.image_groups import independent_groups, join_duplicates
from stages.graft.data.split_assignment import assign_splits
from stages.graft.data.splits import SPLITS
from stages.graft.evaluation.evaluate_params import EvaluateParams
from stages.graft.evaluation.unseen_classes import measure_unseen
from stages.graft.metrics.classification import area_under_roc, group_interval
from stages.graft.model.false_alarms import ENOUGH_GROUPS, measure_known
from stages.graft.model.novelty import fit_novelty
from stages.graft.model.scoring import ScoredSet, ScoredSplits
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.transfer_accuracy import read_set

TABLE = Path("reports/unknown.csv")

FRACTION = 0.15
"""Share of the images in validation and in test."""

SHOTS, NUM_SEEDS, SEEDS_HELD_OUT = (None, 10), 20, 3
"""Training images of each class, splits, and of these the ones in which classes are held out, which takes longer."""

EQUAL = 1.0
"""Weight of all directions in the detector compared with."""


def main() -> None:
    """Measure every set given."""
    rows = list[dict[str, object]]()
    params = load_params("evaluate", EvaluateParams)
    with temporary_folder(store_folder(), "unknown") as folder:
        for name, _, source in (argument.partition("=") for argument in sys.argv[1:]):
            images = measure(read_set(name, source, folder), folder)
            rows += ({"set": name} | row for row in set_rows(images, params))
    table = pd.DataFrame(rows)
    write_csv(table, TABLE)
    for (subset, shots), part in table.groupby(["set", "train_per_class"]):
        print(
            f"compare_unknown: {subset}, {shots} training images of each class: {part['inside'].sum()} of {len(part)} "
            f"splits inside, {part['false_alarms'].mean():.1%} false alarms, {part['unseen_found'].mean():.1%} found, "
            f"AUROC {part['unseen_auroc'].mean():.3f}, with equal weights {part['auroc_equal_weights'].mean():.3f}"
        )


def set_rows(images: MeasuredSet, params: EvaluateParams) -> Iterator[dict[str, object]]:
    """For each number of training images and seed, the false alarms; for the first seeds, what is found."""
    table = images.table.assign(group=join_duplicates(images.table), split="")
    for shots in SHOTS:
        for seed in range(NUM_SEEDS):
            parts = split_images(images, table.assign(split=assign_splits(table, seed, FRACTION, FRACTION, shots)))
            row = {"train_per_class": str(shots or "all"), "seed": seed} | alarms_record(parts, params)
            if seed < SEEDS_HELD_OUT:
                row |= held_out_record(parts, sorted(set(table["label"])), params.false_alarm_rate)
            yield row


def split_images(images: MeasuredSet, table: pd.DataFrame) -> ScoredSplits:
    """Put the features of each split together; the logits are empty."""
    y = np.unique(table["label"].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)
    everything = ScoredSet(x=images.x, logits=images.x[:, :0], y=y, groups=independent_groups(table))
    train, val, test = (everything.rows((table["split"] == name).to_numpy(dtype=bool)) for name in SPLITS)
    return train, val, test


def alarms_record(parts: ScoredSplits, params: EvaluateParams) -> dict[str, object]:
    """The false alarms on test, their interval, and whether the rate that was asked for is in it."""
    train, val, test = parts
    detector = fit_novelty(train.x, train.y)
    known = measure_known(detector, train, val, ENOUGH_GROUPS)
    limit = known.unknown_above(params.false_alarm_rate)
    alarms = detector.distances(test.x) > (np.inf if limit is None else limit)
    low, high = group_interval(alarms, test.groups, params.confidence_level)
    return {
        "false_alarms": round(float(alarms.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "inside": low <= params.false_alarm_rate <= high,
        "num_test": len(alarms),
        "num_known_groups": known.num_groups,
    }


def held_out_record(parts: ScoredSplits, classes: list[str], rate: float) -> dict[str, object]:
    """Means over the classes, each held out in turn."""
    rows = measure_unseen(parts, classes, rate)
    equal = np.mean([auroc_of_class(parts, k) for k in range(len(classes))])
    found = [row.found for row in rows if row.found is not None]
    return {
        "unseen_found": round(float(np.mean(found)), 4),
        "unseen_auroc": round(float(np.mean([row.auroc for row in rows])), 4),
        "auroc_equal_weights": round(float(equal), 4),
    }


def auroc_of_class(parts: ScoredSplits, k: int) -> float:
    """The area under the ROC curve of a class held out, for the detector with equal weights."""
    train, _, test = (one.rows(one.y != k) for one in parts)
    detector = fit_novelty(train.x, train.y, EQUAL)
    unseen = np.concatenate([one.x[one.y == k] for one in parts])
    return area_under_roc(detector.distances(test.x), detector.distances(unseen))


if __name__ == "__main__":
    run("compare_unknown", main, again="python -m stages.benchmarks.compare_unknown")
