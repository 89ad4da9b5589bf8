"""The pipeline's state (its parameters and data) and its results, read from its files."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from stages.graft.core.params import Params, flatten, load_params, read_yaml
from stages.graft.core.stage import read_duration
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import dvc_folder_md5, md5_of, sha256_of
from stages.graft.storage.tables import count_rows

PARAMS, MANIFEST, PIPELINE, BUNDLE = "params.yaml", "data/manifest.csv", "dvc.yaml", "data/bundle/bundle.json"
SPLITS, CURVES, PAGE = "data/splits.csv", "reports/plots/*_curve.csv", "reports/report.html"
"""Relative to the pipeline's root."""

PUBLISHED = ("reports/", "data/bundle", MANIFEST, SPLITS)
"""Beginnings of the outputs that a run is written from."""

METRICS = {
    "accuracy": ("metrics", "accuracy"),
    "accuracy_low": ("metrics", "accuracy_low"),
    "accuracy_high": ("metrics", "accuracy_high"),
    "balanced_accuracy": ("metrics", "balanced_accuracy"),
    "lowest_recall": ("headline", "lowest_recall"),
    "log_loss": ("metrics", "log_loss"),
    "calibration_error": ("metrics", "ece"),
    "answered": ("metrics", "coverage"),
    "accuracy_of_answered": ("metrics", "selective_accuracy"),
    "unseen_auroc": ("metrics", "unseen_auroc"),
    "baseline_accuracy": ("verdict", "baseline_accuracy"),
    "val_accuracy": ("train_head", "val_accuracy"),
    "val_accuracy_finetuned": ("finetune", "val_accuracy_after"),
    "cross_validated_accuracy": ("explore", "cross_validated_accuracy"),
    "num_images": ("ingest", "num_images"),
    "num_test_images": ("metrics", "num_test"),
    "num_doubtful_labels": ("explore", "num_suspected"),
}
"""Metrics of a run, with the report and its key; the reports themselves are artifacts, with every other number."""

MAX_KEY, MAX_VALUE = 250, 6000
"""MLflow's limits for the name and the value of a parameter, in characters."""


SOURCE_ENDINGS = frozenset((".yaml", ".csv", ".zip", ".tar", ".gz", ".tgz", ".xz"))
"""Of files that are sources."""


class TrackingParams(Params):
    """The section `tracking` of params.yaml."""

    experiment: str
    """Name of the MLflow experiment the runs go to."""
    model_name: str | None = Field(default=None, pattern=r"^[\w.\- ]+$")
    """Name of MLflow's registered model; null: the name of the source."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The parameters and data that determine the results: one MLflow run belongs to each state."""

    key: str
    """SHA-256 of the parameters (without their order and comments) and of the manifest's bytes, hex."""
    experiment: str
    """Name of the MLflow experiment."""
    model_name: str | None
    """Name of MLflow's registered model; None: that of the source."""
    params: dict[str, str]
    """Every parameter as text, by `section.key`."""
    source: str
    """The images' source in params.yaml; empty when there is none."""
    data_md5: str
    """MD5 of the manifest, hex, as DVC computes it."""
    num_images: int
    """Rows of the manifest."""


STAGES = ("ingest", "duplicates", "split", "extract", "train_head", "finetune", "explore", "explain", "evaluate")
"""The stages whose time counts; the last one, report, publishes the run before it has ended."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the pipeline computed in one state."""

    series: dict[str, dict[int, float]]
    """By name, the value at each step: curves by epoch, single metrics at step 0."""
    digest: str
    """SHA-256 of the bundle's record and of every published file except the page, which shows times, hex; the same
    digest means that nothing is new."""
    times: dict[str, float]
    """Seconds of each stage's last run, of the stages that ran on this machine."""


def read_state(root: Path) -> RunState:
    """Read the state from params.yaml and the manifest.

    Raises:
        ParamsError, OSError: params.yaml or the manifest is missing or cannot be read.
    """
    tracking = load_params("tracking", TrackingParams, root / PARAMS)
    params = flatten(read_yaml(root / PARAMS))
    manifest, source = root / MANIFEST, str(params.get("ingest.source") or "")
    return RunState(
        key=_key(params, manifest),
        experiment=tracking.experiment,
        model_name=tracking.model_name,
        params=dict(_as_param(name, value) for name, value in params.items()),
        source=source,
        data_md5=_md5(manifest),
        num_images=count_rows(manifest),
    )


def name_of_source(source: str) -> str:
    """Name a model after its images: the last part of their path or address without its endings, as MLflow allows.

    `data/plates.yaml` gives plates, `s3://bucket/steel/` steel, `/data/neu.tar.gz` neu.
    """
    path = PurePosixPath(re.split(r"[?#]", source)[0].replace("\\", "/"))
    name = path.name
    while PurePosixPath(name).suffix.lower() in SOURCE_ENDINGS:
        name = PurePosixPath(name).stem
    return re.sub(r"[^\w.\- ]", "_", name) or "images"


def read_results(root: Path) -> Results:
    """Read the metrics, those that the reports have, and the curves: `stage/split_metric` by epoch."""
    paths = {name: root / f"reports/{name}.json" for name, _ in METRICS.values()}
    reports = {name: read_json(path) for name, path in paths.items() if path.is_file()}
    values = {metric: reports.get(name, {}).get(key) for metric, (name, key) in METRICS.items()}
    series = {metric: {0: float(value)} for metric, value in values.items() if value is not None}
    for table in sorted(root.glob(CURVES)):
        series |= _read_curves(table)
    return Results(series=series, digest=_digest(root), times=read_times(root))


def read_times(root: Path) -> dict[str, float]:
    """Read the seconds of each stage's last run, of STAGES and of those that ran on this machine."""
    durations = {stage: read_duration(stage, root) for stage in STAGES}
    return {stage: duration.seconds for stage, duration in durations.items() if duration}


def published_files(root: Path) -> Iterator[tuple[str, Path]]:
    """List the page and the reports that stages write, each with its artifact folder.

    Other files beside them, such as measurements of speed, belong to the repository and not to a run.
    """
    for path in sorted({root / PAGE, *(root / out for out in _outs(root) if out.startswith("reports/"))}):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not file.name.startswith("."):
                yield file.parent.relative_to(root).as_posix(), file


def _outs(root: Path) -> Iterator[str]:
    """Every path that a stage of dvc.yaml writes."""
    for stage in read_yaml(root / PIPELINE)["stages"].values():
        for out in (*stage.get("outs", ()), *stage.get("metrics", ())):
            yield out if isinstance(out, str) else next(iter(out))


def _key(params: Mapping[str, Any], manifest: Path) -> str:
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode() + b"\0")
    for path in sorted(manifest.iterdir()) if manifest.is_dir() else [manifest]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _md5(path: Path) -> str:
    """MD5 of a file or folder, as DVC computes it."""
    return dvc_folder_md5({file.name: md5_of(file) for file in path.iterdir()}) if path.is_dir() else md5_of(path)


def _as_param(name: str, value: Any) -> tuple[str, str]:
    """Keep text as it is, write anything else as JSON; replace the end of a long value by the hash of the value."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > MAX_VALUE:
        end = f"… sha256 {hashlib.sha256(text.encode()).hexdigest()}"
        text = text[: MAX_VALUE - len(end)] + end
    return _safe(name), text


def _safe(name: str) -> str:
    """Make a name that MLflow accepts: letters, digits and `_-./ `; a hash keeps a changed name unique."""
    safe = re.sub(r"[^\w\-. /]|(?<=/)/|\.(?=\.)", "_", name)
    if safe == name and len(name) <= MAX_KEY:
        return name
    return f"{safe[: MAX_KEY - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _read_curves(table: Path) -> dict[str, dict[int, float]]:
    """Read `epoch,split,loss,accuracy,…` as a curve for each split and column; `split` and cells may be missing."""
    curves: dict[str, dict[int, float]] = {}
    stage = table.stem.removesuffix("_curve")
    with table.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if "epoch" not in row:
                return {}  # not a learning curve
            epoch, split = int(row.pop("epoch")), row.pop("split", "")
            for column, cell in row.items():
                name = _safe(f"{stage}/{split}_{column}" if split else f"{stage}/{column}")
                if cell:
                    curves.setdefault(name, {})[epoch] = float(cell)
    return curves


def _digest(root: Path) -> str:
    total = hashlib.sha256()
    files = [path for _, path in published_files(root) if path != root / PAGE]
    for path in (*files, *filter(Path.is_file, [root / BUNDLE])):
        total.update(f"{path.relative_to(root).as_posix()} {sha256_of(path)}\n".encode())
    return total.hexdigest()
