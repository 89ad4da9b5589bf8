"""Beside the pipeline, compare_suggestions: what suggested labels, checked labels and the forecast are worth.

Each seed splits each set in its own way: a quarter to a third of the images are held out and scored, the others are the
pool. Labels are taken from the source, as a person would give them.

Reads   the sources given, the bundled backbone, params.yaml
Writes  reports/compare_suggestions.csv (a row for each set, question, method and number of labels)
Run     python -m stages.benchmarks.compare_suggestions NAME=SOURCE... (minutes)
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.benchmarks.label_trials import (
    MOST_CERTAIN,
    Forecast,
    cold_classes,
    draw_pool,
    forecast_trial,
    labels_needed,
    reference_accuracy,
    score_known,
    simulate_rounds,
    wrong_label_trial,
)
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.tables import write_csv
from stages.pretraining.transfer_accuracy import network_features, read_set

TABLE = Path("reports/compare_suggestions.csv")

NUM_SEEDS, NUM_FORECASTS = 20, 50
"""Splits of each set; for forecasts, which take less time and differ more from draw to draw."""

STRATEGIES = ("suggested", "coverage alone", "typical of clusters", "smallest margins", "random")
"""Ways to choose the next labels."""

NUM_FORECAST_FROM = (60, 100, 200)
"""Labels from which twice as many are forecast, besides half of all."""

LOOKS_WRONG = {
    "noticed": "of wrong labels",
    "mistaken": "of right labels",
    "mistaken_by_learning": "of right labels, to confident learning alone",
}
"""Fields of a trial, and what they are called in the table."""

Row = dict[str, object]


def main() -> None:
    """Answer every question for every set given."""
    rows = list[Row]()
    for name, _, source in (argument.partition("=") for argument in sys.argv[1:]):
        images = read_features_of(name, source)
        for part in (cold_rows, curve_rows, known_rows, wrong_label_rows, forecast_rows):
            rows += part(name, images)
            write_csv(pd.DataFrame(rows), TABLE)
            print(f"compare_suggestions: {name}, {part.__name__.removesuffix('_rows')}: done", flush=True)


def read_features_of(name: str, source: str) -> FeatureSet:
    """Read a set and compute its features with the network of params.yaml."""
    with temporary_folder(store_folder(), "suggestions") as folder:
        labelled = read_set(name, source, folder)
    x = network_features(labelled, find_weights(load_params("backbone", BackboneParams), Path("data/backbones")))
    classes = tuple(sorted(set(labelled.table["label"])))
    y = np.searchsorted(np.array(classes), labelled.table["label"].to_numpy(dtype=str)).astype(np.int64)
    return FeatureSet(ids=tuple(labelled.table["id"]), x=x, y=y, classes=classes)


def cold_rows(name: str, images: FeatureSet) -> Iterator[Row]:
    """Share of seeds in which the first labels show every class, when there is no label to begin with."""
    num_classes = len(images.classes)
    for number in (2 * num_classes, 3 * num_classes):
        for strategy in ("suggested", "typical of clusters", "random"):
            found = [cold_classes(draw_pool(images, seed), strategy, number, seed) for seed in range(NUM_SEEDS)]
            yield row(name, "every class is seen", strategy, number, [count == num_classes for count in found])


def curve_rows(name: str, images: FeatureSet) -> Iterator[Row]:
    """Accuracy over labels, and the labels that reach the accuracy of 10 per class drawn class by class."""
    pools = [draw_pool(images, seed) for seed in range(NUM_SEEDS)]
    step = len(images.classes)
    target = float(np.mean([reference_accuracy(pool, seed) for seed, pool in enumerate(pools)]))
    yield row(name, "accuracy", "10 per class, drawn class by class", 10 * step, [target])
    for strategy in STRATEGIES:
        curves = np.array([simulate_rounds(pool, strategy, step, 14, seed) for seed, pool in enumerate(pools)])
        sizes = step * np.arange(1, curves.shape[1] + 1)
        for size, accuracies in zip(sizes.tolist(), curves.T, strict=True):
            yield row(name, "accuracy", strategy, size, accuracies)
        needed = resampled(curves, partial(share_needed, sizes=sizes, target=target, usual=10 * step))
        yield record(name, "labels needed, as a share", strategy, 10 * step, needed, NUM_SEEDS)


def known_rows(name: str, images: FeatureSet) -> Iterator[Row]:
    """Accuracy of the default head with few labels, without and with the images that have none."""
    params = load_params("train_head", TrainHeadParams)
    for shots in (2, 5, 10):
        scores = [score_known(draw_pool(images, seed), shots, params, seed) for seed in range(NUM_SEEDS)]
        number = shots * len(images.classes)
        for method, accuracies in zip(("labels alone", "others known"), zip(*scores, strict=True), strict=True):
            yield row(name, "accuracy of the default head", method, number, accuracies)
        gains = [known - alone for alone, known in scores]
        yield row(name, "accuracy of the default head, gain", "others known", number, gains)


def share_needed(curves: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], target: float, usual: int) -> float:
    """Give the labels at which the mean of the curves reaches a target, as a share of the usual number."""
    return labels_needed(curves.mean(axis=0), sizes, target) / usual


def wrong_label_rows(name: str, images: FeatureSet) -> Iterator[Row]:
    """One label in ten is wrong; a person checks as many suspects as there are wrong labels."""
    for shots in (60, 150):
        if np.bincount(images.y).min() < shots:
            continue
        trials = [wrong_label_trial(draw_pool(images, seed), shots, seed) for seed in range(NUM_SEEDS)]
        number = shots * len(images.classes)
        yield row(name, "wrong labels found", "self-confidence, twice", number, [trial.found for trial in trials])
        for what, method in LOOKS_WRONG.items():
            yield row(name, "share that looks wrong", method, number, [getattr(trial, what) for trial in trials])
        for when in ("wrong", "checked", "clean"):
            yield row(
                name, "accuracy, one label in ten wrong", when, number, [getattr(trial, when) for trial in trials]
            )


def forecast_rows(name: str, images: FeatureSet) -> Iterator[Row]:
    """Twice the labels, forecast and then measured on held-out images; at last three quarters, from half of them."""
    for number in (*NUM_FORECAST_FROM, len(images.y) * 3 // 8):
        trials = [forecast_trial(images, number, seed) for seed in range(NUM_FORECASTS)]
        later = np.array([trial.later for trial in trials])
        gains = later - [trial.now for trial in trials]
        yield row(name, "forecast, gain", "measured", number, gains)
        guesses = {"forecast": [trial.gain.middle for trial in trials], "no change": np.zeros(len(trials))}
        for method, guess in guesses.items():
            yield row(name, "forecast, error of the gain", method, number, np.abs(guess - gains))
        guesses = {
            "forecast": [trial.expected.middle for trial in trials],
            "no change": [trial.known for trial in trials],
            "a test with as many new images": [trial.tested for trial in trials],
        }
        for method, guess in guesses.items():
            yield row(name, "forecast, error of the accuracy", method, number, np.abs(guess - later))
        for what, are in {
            "gain inside the interval": [trial.gain_is_inside for trial in trials],
            "accuracy inside the interval": [trial.is_inside for trial in trials],
        }.items():
            yield row(name, f"forecast, {what}", "forecast", number, are)
        yield from _needed_rows(name, number, trials)


def _needed_rows(name: str, number: int, trials: Sequence[Forecast]) -> Iterator[Row]:
    """Whether the labels forecast for an accuracy of at most 95% are within a factor of 2; those that tell a number."""
    asked = [trial for trial in trials if trial.later <= MOST_CERTAIN]
    for method, answers in {
        "forecast": [trial.is_near for trial in asked],
        "forecast, the level known": [trial.gain_is_near for trial in asked],
    }.items():
        told = [answer for answer in answers if answer is not None]
        if told:
            yield row(name, "forecast, labels within a factor of 2", method, number, told)


def row(
    name: str, question: str, method: str, num_labels: int, values: Sequence[float] | npt.NDArray[np.float64]
) -> Row:
    """Give the mean of the seeds, and its interval by resampling them."""
    array = np.asarray(values, dtype=np.float64)
    return record(name, question, method, num_labels, resampled(array, lambda some: float(some.mean())), len(array))


def record(
    name: str, question: str, method: str, num_labels: int, found: tuple[float, float, float], num_seeds: int
) -> Row:
    """Give a row of the table; a number that is not reached is empty."""
    mean, low, high = (round(value, 4) if np.isfinite(value) else None for value in found)
    keys = {"set": name, "question": question, "method": method, "num_labels": num_labels}
    return {**keys, "mean": mean, "low": low, "high": high, "num_seeds": num_seeds}


def resampled(
    values: npt.NDArray[np.float64], measure: Callable[[npt.NDArray[np.float64]], float]
) -> tuple[float, float, float]:
    """Give a number measured on all seeds, and the 95% interval of it over resamples of the seeds."""
    rng = np.random.default_rng(0)
    found = np.sort([measure(values[rng.integers(0, len(values), len(values))]) for _ in range(500)])
    return measure(values), float(found[12]), float(found[-13])


if __name__ == "__main__":
    run("compare_suggestions", main)
