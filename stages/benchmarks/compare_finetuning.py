"""Beside the pipeline, compare_finetuning: no, partial and full fine-tuning, on few images per class.

Reads   the images that data/backbones/params.yaml names, params.yaml for all it does not set, the bundled backbone
Writes  reports/finetuning.csv, reports/finetuning.md
Params  compare_finetuning, in data/backbones/params.yaml
Run     python -m stages.benchmarks.compare_finetuning (minutes a seed and strategy, with nothing beside it)
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from stages.benchmarks.report_parts import Row, machine_description, markdown_table
from stages.benchmarks.sandbox import BACKBONES, Sandbox
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.core.params import PARAMS, Params, load_params, read_yaml
from stages.graft.core.stage import run
from stages.graft.data.image_locations import image_locations
from stages.graft.heads.features import load_features
from stages.graft.heads.head import HEAD, Float32, Head, load_head, save_head
from stages.graft.images.loading import LocateImage
from stages.graft.metrics.paired_comparison import PairedComparison, compare_paired, worth_keeping
from stages.graft.model.model_folder import model_weights, read_model
from stages.graft.model.scoring import score_images
from stages.graft.storage.arrays import read_metadata
from stages.graft.storage.files import read_json, write_text
from stages.graft.storage.tables import write_csv

TABLE, REPORT = Path("reports/finetuning.csv"), Path("reports/finetuning.md")

STARTS = ("trained", "fresh")
"""Whether fine-tuning starts from the head of train_head or from a random one."""

SET_HERE = ("strategy", "keep", "seed", "source_images")
"""Parameters of finetune that this comparison sets, whatever params.yaml says."""

NO_TRACKING_SERVER = "http://127.0.0.1:1"
"""Address without a server: live curves in MLflow are not part of the time."""


NOT_OF_NONE = (
    "starts from", "validation keeps it", "test, against none", "gained / lost", "McNemar p, by seed", "epoch kept",
)  # fmt: skip
"""Columns of the report that are empty for `none`."""


class CompareFinetuningParams(Params):
    """The section `compare_finetuning` of data/backbones/params.yaml."""

    source: str
    """Images, of any kind that ingest takes."""
    train_per_class: PositiveInt | None
    """Training images of each class; null takes all."""
    num_seeds: PositiveInt
    """Seeds 0, 1, … of the split and of the training."""
    strategies: tuple[Literal["partial", "full"], ...] = Field(min_length=1)
    """Strategies to compare with none."""


def make_project(folder: Path, source: str) -> Sandbox:
    """Make a project and extract the features of its images."""
    project = Sandbox.project(folder).with_environment(MLFLOW_TRACKING_URI=NO_TRACKING_SERVER)
    project.set_params("ingest", source=str(Path(source).resolve()) if Path(source).exists() else source)
    project.set_params("finetune", strategy="none", keep="always", source_images=None)
    for stage in ("ingest", "duplicates", "extract"):
        run_stage(project, stage)
    return project


def run_stage(project: Sandbox, stage: str) -> float:
    """Run a stage with an empty store, so that nothing cached by another run helps it; return its seconds."""
    with tempfile.TemporaryDirectory(dir=project.folder, prefix="store-") as store:
        return project.with_environment(GRAFT_STORE=store).stage_seconds(stage)


def compare(project: Sandbox, before: Head, after: Head | None = None) -> tuple[PairedComparison, PairedComparison]:
    """Compare a head on the frozen network with another head on it, or with the model, on validation and test."""
    data = project.folder / "data"
    locate = image_locations(data / "splits.csv", data / "images")
    comparisons = []
    for split in load_features(data / "features.safetensors", data / "splits.csv", "val", "test"):
        logits = after.logits(split.x) if after else model_logits(data / "model", split.ids, locate)
        comparisons.append(compare_paired(split.y, before.logits(split.x), logits))
    return comparisons[0], comparisons[1]


def model_logits(folder: Path, ids: Sequence[str], locate: LocateImage) -> Float32:
    """Score images with the folder of a fine-tuned model, in torch and fp32, as in its validation."""
    model, head = read_model(folder)
    weights = model_weights(model, folder, BACKBONES, offline=True)
    runtime = choose_runtime(weights, AUTOMATIC.model_copy(update={"runtime": "torch", "precision": "fp32"}), folder)
    return score_images(head, weights, runtime, ids, locate)(ids)[1]


def fresh_head(like: Head, seed: int) -> Head:
    """Draw a head as torch starts its linear layers: uniform, up to one over the root of the number of inputs."""
    rng = np.random.default_rng(seed)
    layers = []
    for weight, bias in like.layers:
        limit = 1 / np.sqrt(weight.shape[1])
        drawn = [rng.uniform(-limit, limit, array.shape).astype(np.float32) for array in (weight, bias)]
        layers.append((drawn[0], drawn[1]))
    return replace(like, layers=tuple(layers))


def run_trials(project: Sandbox, params: CompareFinetuningParams, seed: int) -> Iterator[dict[str, Any]]:
    """Fit a head on one split, then fine-tune from it, and from a fresh one, with every strategy; give table rows."""
    project.set_params("split", seed=seed, train_per_class=params.train_per_class)
    run_stage(project, "split")
    seconds = run_stage(project, "train_head")
    folder = project.folder / "data/head"
    trained, backbone = load_head(folder), read_metadata(folder / HEAD)["backbone"]
    first = {"seed": seed, "strategy": "none", "start": "trained", "epoch": 0}
    yield first | comparison_columns(*compare(project, trained, trained), seconds)
    for start, strategy in itertools.product(STARTS, params.strategies):
        save_head(trained if start == "trained" else fresh_head(trained, seed), folder, backbone)
        project.set_params("finetune", strategy=strategy, seed=seed)
        seconds = run_stage(project, "finetune")
        epoch = int(read_json(project.folder / "reports/finetune.json")["epoch"])
        first = {"seed": seed, "strategy": strategy, "start": start, "epoch": epoch}
        yield first | comparison_columns(*compare(project, trained), seconds)


def comparison_columns(val: PairedComparison, test: PairedComparison, seconds: float) -> dict[str, Any]:
    """Return the table's columns about validation, test and the time of the stage."""
    return {
        "val_accuracy": round(val.accuracy_after, 6),
        "val_log_loss": round(val.log_loss_after, 6),
        "validation_keeps_it": worth_keeping(val, "better"),
        "num_val": val.num_images,
        "test_accuracy": round(test.accuracy_after, 6),
        "test_log_loss": round(test.log_loss_after, 6),
        "num_test": test.num_images,
        "gained": test.num_gained,
        "lost": test.num_lost,
        "p_value": round(test.p_value, 6),
        "seconds": round(seconds, 1),
    }


def report_row(strategy: str, start: str, trials: pd.DataFrame, none_accuracy: float) -> Row:
    """Format the mean over seeds of one strategy."""
    mean, num_seeds = trials.mean(numeric_only=True), len(trials)
    spread = f" ± {100 * trials['test_accuracy'].std():.1f}" if num_seeds > 1 else ""
    row = {
        "strategy": strategy,
        "starts from": f"{start} head",
        "validation accuracy": f"{mean['val_accuracy']:.1%}",
        "validation log loss": f"{mean['val_log_loss']:.3f}",
        "validation keeps it": f"{trials['validation_keeps_it'].sum()} of {num_seeds}",
        "test accuracy": f"{mean['test_accuracy']:.1%}{spread}",
        "test log loss": f"{mean['test_log_loss']:.3f}",
        "test, against none": f"{100 * (mean['test_accuracy'] - none_accuracy):+.1f} points",
        "gained / lost": f"{trials['gained'].sum()} / {trials['lost'].sum()}",
        "McNemar p, by seed": ", ".join(f"{p:.2g}" for p in trials["p_value"]),
        "epoch kept": ", ".join(map(str, trials["epoch"])),
        "seconds": f"{mean['seconds']:.0f}",
    }
    return row | dict.fromkeys(NOT_OF_NONE, "-") if strategy == "none" else row


def report(table: pd.DataFrame, params: CompareFinetuningParams) -> str:
    """Format the means over seeds, the method, and the choice that validation would make."""
    grouped = table.groupby(["strategy", "start"], sort=False)
    groups = {(str(strategy), str(start)): trials for (strategy, start), trials in grouped}
    accuracy = {key: trials["test_accuracy"].mean() for key, trials in groups.items()}
    none_accuracy = accuracy["none", "trained"]
    best = min(groups, key=lambda key: groups[key]["val_log_loss"].mean())
    best_name = "none" if best[0] == "none" else f"{best[0]} from a {best[1]} head"
    shots = params.train_per_class or "all"
    finetune = [f"{name} {value}" for name, value in read_yaml(PARAMS)["finetune"].items() if name not in SET_HERE]
    return f"""# Fine-tuning against the head alone, measured by `python -m stages.benchmarks.compare_finetuning`

{Path(params.source).name}: {shots} training images per class, {table["num_val"][0]} to choose with, \
{table["num_test"][0]} to test on; means over {params.num_seeds} seeds of split and training.
{machine_description()}.

{markdown_table([report_row(*key, trials, none_accuracy) for key, trials in groups.items()])}

`none` is the head of train_head on the frozen network. The others start from that head, or from a fresh one: random, as
torch starts a linear layer. Epochs are chosen by validation log loss; "validation keeps it" counts the seeds in which
`finetune.keep: better` would have kept the fine-tuned weights, while the figures here are theirs in any case
(`keep: always`). Gained and lost: test images that only the fine-tuned, or only the head-only model has right, summed
over seeds; the seeds' test images overlap, so p is given for each. Seconds: the whole stage with an empty store
(train_head for none): its start, for partial the frozen part's views, and the comparison of the networks at its end.

By mean validation log loss, the best is {best_name}: {accuracy[best]:.1%} on test, `none` {none_accuracy:.1%}.

The section `finetune` of params.yaml: {", ".join(finetune)}.
"""


def main() -> None:
    """Run every strategy for every seed, then write the table and the report."""
    params = load_params("compare_finetuning", CompareFinetuningParams, BACKBONES / "params.yaml")
    rows = []
    with tempfile.TemporaryDirectory(prefix="graft-finetuning-") as scratch:
        project = make_project(Path(scratch) / "project", params.source)
        for row in itertools.chain.from_iterable(run_trials(project, params, seed) for seed in range(params.num_seeds)):
            rows.append(row)
            print(
                "compare_finetuning: seed {seed}, {strategy} from a {start} head: validation {val_accuracy:.1%}, "
                "test {test_accuracy:.1%}, {seconds:.0f} seconds".format_map(row),
                flush=True,
            )
    table = pd.DataFrame(rows)
    write_csv(table.drop(columns="num_val"), TABLE)
    write_text(report(table, params), REPORT)
    print(f"compare_finetuning: {REPORT}")


if __name__ == "__main__":
    run("compare_finetuning", main)
