"""Beside the pipeline, compare_finetuning: what fine-tuning brings on few images, and how often worse weights are kept.

Reads   the images that the params file names, params.yaml for all it does not set, the bundled backbone
Writes  reports/finetuning.csv, a row for each draw and setting, and reports/finetuning.md; rows are also in the store,
        and the next run goes on from them
Params  compare_finetuning, in data/backbones/params.yaml or in the file that the command names
Run     python -m stages.benchmarks.compare_finetuning [params file] (seconds a row on a GPU, half a minute on one core)
"""

import itertools
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from stages.benchmarks.finetune_trials import Trials, read_images
from stages.benchmarks.report_parts import Row, machine_description, markdown_table, write_report
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import PARAMS, Params, load_params, read_yaml
from stages.graft.core.stage import run
from stages.graft.core.threads import limit_cpus, num_cpus
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.paired_comparison import MAX_P_VALUE, is_better, mcnemar, paired_t
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.graft.training.finetune_params import FinetuneParams

BACKBONES = Path("data/backbones")
TABLE, REPORT = Path("reports/finetuning.csv"), Path("reports/finetuning.md")

SECTIONS = ("finetune", "backbone")
"""Sections of params.yaml that the report shows."""

COUNTS = ["val_refitted_gained", "val_refitted_lost"]
LOSSES = ["val_refitted_change", "val_refitted_change_std", "num_val"]
"""Columns by which the weights are kept: images, and the change of the log loss, its deviation and the images."""

KEY = ["dataset", "setting", "train_per_class", "val_per_class", "seed"]
"""Columns that name a row."""


class SourceParams(Params):
    """A data set."""

    source: str
    """Source of its images, of any kind that ingest takes."""
    augmentation: str
    """Preset of the random views."""


class CompareFinetuningParams(Params):
    """The section `compare_finetuning`."""

    datasets: dict[str, SourceParams]
    """Data sets by name."""
    settings: dict[str, dict[str, Any]]
    """Parameters of finetune, by a name of the setting; the others are those of params.yaml."""
    draws: tuple[tuple[PositiveInt, PositiveInt], ...]
    """Training and validation images of each class; all others are held out."""
    first_seed: NonNegativeInt
    """First seed of the draw and of the training."""
    num_seeds: PositiveInt
    """Seeds, one after the other."""
    workers: PositiveInt
    """Processes, each with one seed of one setting and data set at a time."""
    minutes: PositiveFloat
    """No row is begun after this time."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one setting and seed on one data set."""

    dataset: str
    """Name of the data set."""
    setting: str
    """Name of the setting."""
    seed: int
    """Seed of the draws and of the training."""
    params: CompareFinetuningParams
    """All parameters."""
    end: float
    """Time after which no row is begun, in seconds since the epoch."""


def main() -> None:
    """Compute the rows that are missing, in several processes, and write the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else BACKBONES / "params.yaml"
    params = load_params("compare_finetuning", CompareFinetuningParams, path)
    end = time.time() + 60 * params.minutes
    seeds = range(params.first_seed, params.first_seed + params.num_seeds)
    groups = [
        Group(dataset=dataset, setting=setting, seed=seed, params=params, end=end)
        for seed, setting, dataset in itertools.product(seeds, params.settings, params.datasets)
    ]
    with ProcessPoolExecutor(params.workers, mp_context=get_context("spawn")) as pool:
        tables = list(pool.map(add_rows, groups))
    table = pd.concat(tables)
    write_csv(table, TABLE)
    write_report(report(table, params), REPORT)


def add_rows(group: Group) -> pd.DataFrame:
    """Compute the missing rows of a group until the time is over; give all of its rows."""
    params, name = group.params, f"{group.dataset}-{group.setting}-{group.seed}.csv"
    path = store_folder() / "compare_finetuning" / name
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=KEY)
    done = set(table[KEY].itertuples(index=False, name=None))
    wanted = [(group.dataset, group.setting, *draw, group.seed) for draw in params.draws]
    missing = [key for key in wanted if key not in done]
    if missing and time.time() < group.end:
        limit_cpus(max(1, num_cpus() // params.workers))
        torch.set_num_threads(1)  # processes, not threads, share the processors
        trials = open_trials(group)
    for key in missing:
        if time.time() > group.end:
            break
        row = dict(zip(KEY, key, strict=True)) | trials.run(*key[2:])
        table = pd.concat([table, pd.DataFrame([row])]) if len(table) else pd.DataFrame([row])
        write_csv(table, path)
        print("compare_finetuning: " + ", ".join(map(str, key)) + f": {row['seconds']} seconds", flush=True)
    return table


def open_trials(group: Group) -> Trials:
    """Load the images of a group's data set, and the network with its setting."""
    source = group.params.datasets[group.dataset]
    backbone = load_params("backbone", BackboneParams)
    weights = find_weights(backbone, BACKBONES)
    changes = {"augmentation": source.augmentation} | group.params.settings[group.setting]
    params = FinetuneParams(**read_yaml(PARAMS)["finetune"] | {"strategy": "partial"} | changes)
    images = read_images(source.source, weights.preprocessing, store_folder())
    return Trials(images, weights, params, load_params("train_head", TrainHeadParams))


def report_row(trials: pd.DataFrame) -> Row:
    """Summarise the draws of one size from one set with one setting."""
    first, num_test = trials.iloc[0], trials["num_test"].iloc[0]
    columns = (trials[name] for name in (*COUNTS, *LOSSES))
    kept = pd.Series(
        [is_better(gained, lost, paired_t(*losses)) for gained, lost, *losses in zip(*columns, strict=True)],
        trials.index,
    )
    before, after = trials["test_frozen_right"] / num_test, trials["test_refitted_right"] / num_test
    counts = trials[["test_refitted_gained", "test_refitted_lost"]].itertuples(index=False)
    worse = pd.Series([is_worse(*row) for row in counts], index=trials.index)
    return {
        "data set": first["dataset"],
        "setting": first["setting"],
        "to train, to choose": f"{first['train_per_class']}, {first['val_per_class']}",
        "draws": str(len(trials)),
        "head alone": f"{before.mean():.1%}",
        "fine-tuned": f"{after.mean():.1%}",
        "with the trained head": f"{(trials['test_trained_right'] / num_test).mean():.1%}",
        "worse beyond chance": str(worse.sum()),
        "kept": str(kept.sum()),
        "kept, worse beyond chance": str((kept & worse).sum()),
        "the model that is kept": f"{before.where(~kept, after).mean():.1%}",
    }


def is_worse(num_gained: int, num_lost: int) -> bool:
    """Decide whether a classifier is worse beyond chance."""
    return num_lost > num_gained and mcnemar(num_gained, num_lost) <= MAX_P_VALUE


def report(table: pd.DataFrame, params: CompareFinetuningParams) -> str:
    """Format the means over draws, and the method."""
    groups = table.groupby(["dataset", "train_per_class", "val_per_class", "setting"], sort=False)
    settings = "\n".join(f"- {name}: {changes}" for name, changes in params.settings.items())
    sections = read_yaml(PARAMS)
    others = {name: ", ".join(f"{key} {value}" for key, value in sections[name].items()) for name in SECTIONS}
    return f"""# Fine-tuning on few images, measured by `python -m stages.benchmarks.compare_finetuning`

{machine_description()}.
Images of each class to train on and to choose with are drawn at random; all others are the test images. Means of the
accuracy on them over draws.

{markdown_table([report_row(trials) for _, trials in groups])}

Head alone: the head of train_head on the frozen network. Fine-tuned: the head fitted again after the training; beside
it, the head as the training leaves it. Kept: draws in which `finetune.keep: better` keeps the fine-tuned weights, by
the images to choose with alone: more of them are right, and their log loss is lower with p of a paired t-test at most
{MAX_P_VALUE}. Worse beyond chance: draws in which the fine-tuned network has more errors on test, with p of McNemar's
test at most {MAX_P_VALUE}; the draws' test images overlap.

Settings, beside params.yaml:

{settings}

{chr(10).join(f"`{name}`: {values}." for name, values in others.items())}
"""


if __name__ == "__main__":
    run("compare_finetuning", main)
