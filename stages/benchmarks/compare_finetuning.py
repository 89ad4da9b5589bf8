"""Beside the pipeline, compare_finetuning: the head alone, partial and full fine-tuning, on few images per class.

Reads   the images that data/backbones/params.yaml names, params.yaml for all it does not set, the bundled backbone
Writes  reports/finetuning.csv, reports/finetuning.md
Params  compare_finetuning, in data/backbones/params.yaml
Run     python -m stages.benchmarks.compare_finetuning (minutes a seed and strategy, with nothing beside it)
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import Field, PositiveInt

from stages.benchmarks.bench_extraction import machine, table
from stages.graft.backbone.network import choose_device
from stages.graft.core.errors import GraftError
from stages.graft.core.params import Params, load_params, read_yaml
from stages.graft.core.stage import run
from stages.graft.data.manifest import image_locations, read_manifest
from stages.graft.heads.features import FeatureSet, load_features
from stages.graft.heads.head import HEAD, Head, load_head, save_head
from stages.graft.metrics.paired_comparison import PairedComparison, compare_paired, worth_keeping
from stages.graft.model.classifier import predict_logits
from stages.graft.storage.arrays import read_metadata
from stages.graft.storage.files import read_json, write_text
from stages.graft.storage.tables import write_csv

PARAMS, BACKBONES = Path("params.yaml"), Path("data/backbones")
TABLE, REPORT = Path("reports/finetuning.csv"), Path("reports/finetuning.md")
REPOSITORY = Path(__file__).resolve().parents[2]

STARTS = ("trained", "fresh")
"""Whether fine-tuning starts from the head that train_head fitted, or from one that knows nothing."""

SET_HERE = ("strategy", "keep", "seed", "source_images")
"""Parameters of finetune that are set here, whatever params.yaml says."""

NOBODY = "http://127.0.0.1:1"
"""No tracking server: drawing live curves is not part of what is timed."""


class CompareFinetuningParams(Params):
    """The section `compare_finetuning` of data/backbones/params.yaml."""

    source: str
    """Images, of any kind that ingest takes."""
    train_per_class: PositiveInt | None
    """Training images of each class; null takes all."""
    num_seeds: PositiveInt
    """Seeds 0, 1, … of the split and of the training."""
    strategies: tuple[Literal["partial", "full"], ...] = Field(min_length=1)
    """Those to compare with none."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training, against the head on the frozen network, on the same images."""

    seed: int
    """Of split and training."""
    strategy: str
    """none, partial or full."""
    start: str
    """trained or fresh: the head it began with."""
    epoch: int
    """The one that was kept; 0 is the start."""
    val: PairedComparison
    """On validation, which decides."""
    test: PairedComparison
    """On test, which reports."""
    seconds: float
    """Of the stage as a whole, its start included: finetune, or train_head for none."""

    def row(self) -> dict[str, Any]:
        """Give the trial's row of the table."""
        return {
            "seed": self.seed,
            "strategy": self.strategy,
            "start": self.start,
            "epoch": self.epoch,
            "val_accuracy": round(self.val.accuracy_after, 6),
            "val_log_loss": round(self.val.log_loss_after, 6),
            "validation_keeps_it": worth_keeping(self.val, "better"),
            "test_accuracy": round(self.test.accuracy_after, 6),
            "test_log_loss": round(self.test.log_loss_after, 6),
            "num_test": self.test.num_images,
            "gained": self.test.num_gained,
            "lost": self.test.num_lost,
            "p_value": round(self.test.p_value, 6),
            "seconds": round(self.seconds, 1),
        }


class Project:
    """A folder in which the stages run as a user runs them, with parameters and a store of its own."""

    def __init__(self, folder: Path, source: str) -> None:
        """Begin with the repository's parameters and backbones, and take the images in."""
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        (folder / BACKBONES).symlink_to(BACKBONES.resolve())
        self.params = read_yaml(PARAMS)
        place = Path(source)
        self.set_params("ingest", source=str(place.resolve()) if place.exists() else source)
        self.set_params("finetune", strategy="none", keep="always", source_images=None)
        self.stage("ingest")
        self.stage("extract")

    def set_params(self, section: str, **values: object) -> None:
        """Change parameters of a section."""
        self.params[section] = self.params[section] | values
        (self.folder / PARAMS).write_text(yaml.safe_dump(self.params), encoding="utf-8")

    def stage(self, name: str) -> float:
        """Run a stage's script; give its seconds.

        Raises:
            GraftError: it failed; says why in its own words.
        """
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": NOBODY}
        command = [sys.executable, "-m", f"stages.{name}"]
        # A store for each call: what one strategy has cached is no gift to the next.
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="store-") as store:
            environment["GRAFT_STORE"] = store
            start = time.perf_counter()
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - start
        if done.returncode:
            raise GraftError((done.stderr or done.stdout).strip().splitlines()[-1])
        return seconds

    def head(self) -> Head:
        """Read the head that stands in its place."""
        return load_head(self.folder / "data/head")

    def put_head(self, head: Head) -> None:
        """Put another head where fine-tuning starts."""
        place = self.folder / "data/head"
        save_head(head, place, read_metadata(place / HEAD)["backbone"])

    def images(self) -> list[FeatureSet]:
        """Read the features of validation and test."""
        data = self.folder / "data"
        return load_features(data / "features.safetensors", data / "splits.csv", "val", "test")

    def compare(self, head: Head) -> list[PairedComparison]:
        """Compare the model with a head on the frozen network, on validation and on test."""
        path_of = image_locations(read_manifest(self.folder / "data/manifest.csv"), self.folder / "data/images")
        model, device = self.folder / "data/model", choose_device("auto")
        return [
            compare_paired(one.y, head.logits(one.x), predict_logits(model, one.ids, path_of, device))
            for one in self.images()
        ]


def fresh_head(like: Head, seed: int) -> Head:
    """Draw a head as torch starts its linear layers: uniform, up to one over the root of the number of inputs."""
    rng = np.random.default_rng(seed)
    layers = []
    for weight, bias in like.layers:
        limit = 1 / np.sqrt(weight.shape[1])
        drawn = [rng.uniform(-limit, limit, array.shape).astype(np.float32) for array in (weight, bias)]
        layers.append((drawn[0], drawn[1]))
    return Head(kind=like.kind, classes=like.classes, layers=tuple(layers))


def trials(project: Project, params: CompareFinetuningParams, seed: int) -> Iterator[Trial]:
    """Fit a head on one split, then fine-tune from it, and from a fresh one, with every strategy."""
    project.set_params("split", seed=seed, train_per_class=params.train_per_class)
    project.stage("split")
    seconds = project.stage("train_head")
    trained = project.head()
    alone = [compare_paired(one.y, trained.logits(one.x), trained.logits(one.x)) for one in project.images()]
    yield Trial(seed=seed, strategy="none", start="trained", epoch=0, val=alone[0], test=alone[1], seconds=seconds)
    for start, strategy in itertools.product(STARTS, params.strategies):
        project.put_head(trained if start == "trained" else fresh_head(trained, seed))
        project.set_params("finetune", strategy=strategy, seed=seed)
        seconds = project.stage("finetune")
        val, test = project.compare(trained)
        epoch = int(read_json(project.folder / "reports/finetune.json")["epoch"])
        yield Trial(seed=seed, strategy=strategy, start=start, epoch=epoch, val=val, test=test, seconds=seconds)


HEADER = (
    "strategy", "starts from", "validation accuracy", "validation log loss", "validation keeps it", "test accuracy",
    "test log loss", "test, against none", "gained / lost", "McNemar p, by seed", "epoch kept", "seconds",
)  # fmt: skip

TEXT = """# Fine-tuning against the head alone, measured by `python -m stages.benchmarks.compare_finetuning`

{source}: {shots} training images per class, {num_val} to choose with, {num_test} to test on; means over {num_seeds}
seeds of split and training. {machine}.

{table}

`none` is the head of train_head on the frozen network. The others start from that head, or from a fresh one: random, as
torch starts a linear layer. Epochs are chosen by validation log loss; "validation keeps it" counts the seeds in which
`finetune.keep: better` would have kept the fine-tuned weights, while the figures here are theirs in any case
(`keep: always`). Gained and lost: test images that only the fine-tuned, or only the head-only model has right, summed
over seeds; the seeds' test images overlap, so p is given for each. Seconds: the whole stage with an empty store
(train_head for none): its start, for partial the frozen part's views, and the comparison of the networks at its end.

By mean validation log loss, the best is {best}: {best_accuracy} on test, `none` {none_accuracy}.

The section `finetune` of params.yaml: {params}.
"""


def report_row(rows: Sequence[Trial], none_accuracy: float) -> tuple[str, ...]:
    """Lay out the mean over seeds of one strategy."""
    first, accuracies = rows[0], [one.test.accuracy_after for one in rows]
    changed = first.strategy != "none"
    spread = f" ± {100 * np.std(accuracies, ddof=1):.1f}" if len(rows) > 1 else ""
    return (
        first.strategy,
        f"{first.start} head" if changed else "-",
        f"{np.mean([one.val.accuracy_after for one in rows]):.1%}",
        f"{np.mean([one.val.log_loss_after for one in rows]):.3f}",
        f"{sum(worth_keeping(one.val, 'better') for one in rows)} of {len(rows)}" if changed else "-",
        f"{np.mean(accuracies):.1%}{spread}",
        f"{np.mean([one.test.log_loss_after for one in rows]):.3f}",
        f"{100 * (np.mean(accuracies) - none_accuracy):+.1f} points" if changed else "-",
        f"{sum(one.test.num_gained for one in rows)} / {sum(one.test.num_lost for one in rows)}" if changed else "-",
        ", ".join(f"{one.test.p_value:.2g}" for one in rows) if changed else "-",
        ", ".join(str(one.epoch) for one in rows) if changed else "-",
        f"{np.mean([one.seconds for one in rows]):.0f}",
    )


def report(found: Sequence[Trial], params: CompareFinetuningParams, finetune: dict[str, Any]) -> str:
    """Write the report: the table, how it was made, and what validation would have chosen."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for one in found:
        groups.setdefault((one.strategy, one.start), []).append(one)
    accuracy = {key: float(np.mean([one.test.accuracy_after for one in rows])) for key, rows in groups.items()}
    none = accuracy["none", "trained"]
    best = min(groups, key=lambda key: float(np.mean([one.val.log_loss_after for one in groups[key]])))
    return TEXT.format(
        source=Path(params.source).name,
        shots="all" if params.train_per_class is None else params.train_per_class,
        num_val=found[0].val.num_images,
        num_test=found[0].test.num_images,
        num_seeds=params.num_seeds,
        machine=machine(),
        table=table(HEADER, [report_row(rows, none) for rows in groups.values()]),
        best="none" if best[0] == "none" else f"{best[0]} from a {best[1]} head",
        best_accuracy=f"{accuracy[best]:.1%}",
        none_accuracy=f"{none:.1%}",
        params=", ".join(f"{name} {value}" for name, value in finetune.items() if name not in SET_HERE),
    )


def main() -> None:
    """Run every strategy for every seed, then write the table and the report."""
    params = load_params("compare_finetuning", CompareFinetuningParams, BACKBONES / "params.yaml")
    found: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="graft-finetuning-") as scratch:
        project = Project(Path(scratch) / "project", params.source)
        for one in itertools.chain.from_iterable(trials(project, params, seed) for seed in range(params.num_seeds)):
            found.append(one)
            print(
                f"compare_finetuning: seed {one.seed}, {one.strategy} from a {one.start} head: validation "
                f"{one.val.accuracy_after:.1%}, test {one.test.accuracy_after:.1%}, {one.seconds:.0f} seconds",
                flush=True,
            )
    write_csv(pd.DataFrame([one.row() for one in found]), TABLE)
    write_text(report(found, params, project.params["finetune"]), REPORT)
    print(f"compare_finetuning: {REPORT}")


if __name__ == "__main__":
    run("compare_finetuning", main)
