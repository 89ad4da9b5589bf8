"""Beside the pipeline, finetune_rule: how often does validation keep fine-tuned weights that are worse?

Reads   the images that the params file names, params.yaml for all it does not set, the bundled backbone
Writes  reports/finetune_rule.csv, a row for each draw and setting; a second run adds the rows that are missing
Params  finetune_rule, in data/backbones/params.yaml or in the file that the command names
Run     python -m stages.benchmarks.finetune_rule [params file] (seconds a row on a GPU, half a minute on one core)
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
from pydantic import PositiveFloat, PositiveInt

from stages.benchmarks.finetune_trials import Trials, read_images
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import PARAMS, Params, load_params, read_yaml
from stages.graft.core.stage import run
from stages.graft.core.threads import limit_cpus, num_cpus
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.tables import write_csv
from stages.graft.training.finetune_params import FinetuneParams

BACKBONES, TABLE = Path("data/backbones"), Path("reports/finetune_rule.csv")

KEY = ["dataset", "setting", "train_per_class", "val_per_class", "seed"]
"""Columns that name a row."""


class SourceParams(Params):
    """A data set."""

    source: str
    """Source of its images, of any kind that ingest takes."""
    augmentation: str
    """Preset of the random views."""


class FinetuneRuleParams(Params):
    """The section `finetune_rule`."""

    datasets: dict[str, SourceParams]
    """Data sets by name."""
    settings: dict[str, dict[str, Any]]
    """Parameters of finetune, by a name of the setting; the others are those of params.yaml."""
    draws: tuple[tuple[PositiveInt, PositiveInt], ...]
    """Training and validation images of each class; all others are held out."""
    num_seeds: PositiveInt
    """Seeds 0, 1, … of the draw and of the training."""
    workers: PositiveInt
    """Processes, each with one setting of one data set at a time."""
    minutes: PositiveFloat
    """No row is begun after this time."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one setting on one data set."""

    dataset: str
    """Name of the data set."""
    setting: str
    """Name of the setting."""
    params: FinetuneRuleParams
    """All parameters."""
    end: float
    """Time after which no row is begun, in seconds since the epoch."""


def main() -> None:
    """Compute the rows that are missing, in several processes, and write the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else BACKBONES / "params.yaml"
    params = load_params("finetune_rule", FinetuneRuleParams, path)
    end = time.time() + 60 * params.minutes
    groups = [
        Group(dataset=dataset, setting=setting, params=params, end=end)
        for setting, dataset in itertools.product(params.settings, params.datasets)
    ]
    with ProcessPoolExecutor(params.workers, mp_context=get_context("spawn")) as pool:
        tables = list(pool.map(add_rows, groups))
    write_csv(pd.concat(tables), TABLE)
    print(f"finetune_rule: {sum(map(len, tables))} rows in {TABLE}")


def add_rows(group: Group) -> pd.DataFrame:
    """Compute the missing rows of a group until the time is over; give all of its rows."""
    params, path = group.params, store_folder() / "finetune_rule" / f"{group.dataset}-{group.setting}.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=KEY)
    done = set(table[KEY].itertuples(index=False, name=None))
    trials_of = itertools.product(range(params.num_seeds), params.draws)
    wanted = [(group.dataset, group.setting, *draw, seed) for seed, draw in trials_of]
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
        print("finetune_rule: " + ", ".join(map(str, key)) + f": {row['seconds']} seconds", flush=True)
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


if __name__ == "__main__":
    run("finetune_rule", main)
