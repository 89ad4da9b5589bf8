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
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import dvc_folder_md5, md5_of, sha256_of
from stages.graft.storage.tables import count_rows

PARAMS, MANIFEST = "params.yaml", "data/manifest.csv"
METRICS, CURVES = "reports/*.json", "reports/plots/*_curve.csv"
ARTIFACTS = {"reports": "reports", "model": "data/model"}
"""Published folders: name of a run's artifact folder, and the folder relative to the pipeline's root."""

PASSING = ("reports/report.html", "reports/times/")
"""Published files that do not count when results are compared: they show times and the last commit."""

MAX_KEY, MAX_VALUE = 250, 6000
"""MLflow's limits for the name and the value of a parameter, in characters."""

MAX_COUNTS = 100
"""A report's mapping with more numbers than this, such as one for each class, is not logged."""


class TrackingParams(Params):
    """The section `tracking` of params.yaml."""

    experiment: str
    """Name of the MLflow experiment the runs go to."""
    model_name: str | None = Field(default=None, pattern=r"^[\w.\- ]+$")
    """Name of MLflow's registered model; null: nothing is registered."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The parameters and data that determine the results: one MLflow run belongs to each state."""

    key: str
    """SHA-256 of the parameters (without their order and comments) and of the manifest's bytes, hex."""
    experiment: str
    """Name of the MLflow experiment."""
    model_name: str | None
    """Name of MLflow's registered model; None: nothing is registered."""
    params: dict[str, str]
    """Every parameter as text, by `section.key`."""
    source: str
    """The images' source in params.yaml; empty when there is none."""
    data_md5: str
    """MD5 of the manifest, hex, as DVC computes it."""
    num_images: int
    """Rows of the manifest."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the pipeline computed in one state."""

    series: dict[str, dict[int, float]]
    """By name, the value at each step: curves by epoch, single metrics at step 0."""
    digest: str
    """SHA-256 of every published file except PASSING, hex; the same digest means that nothing is new."""


def read_state(root: Path) -> RunState:
    """Read the state from params.yaml and the manifest.

    Raises:
        ParamsError, OSError: params.yaml or the manifest is missing or cannot be read.
    """
    tracking = load_params("tracking", TrackingParams, root / PARAMS)
    params = flatten(read_yaml(root / PARAMS))
    manifest = root / MANIFEST
    return RunState(
        key=_key(params, manifest),
        experiment=tracking.experiment,
        model_name=tracking.model_name,
        params=dict(_as_param(name, value) for name, value in params.items()),
        source=str(params.get("ingest.source") or ""),
        data_md5=_md5(manifest),
        num_images=count_rows(manifest),
    )


def read_results(root: Path) -> Results:
    """Read all metrics and curves: `stage.metric`, from metrics.json `metric`, and `stage/split_metric` by epoch."""
    series: dict[str, dict[int, float]] = {}
    for report in sorted(root.glob(METRICS)):
        prefix = "" if report.stem == "metrics" else f"{report.stem}."
        series |= {_safe(prefix + name): {0: value} for name, value in _numbers(read_json(report))}
    for table in sorted(root.glob(CURVES)):
        series |= _read_curves(table)
    return Results(series=series, digest=_digest(root))


def published_files(root: Path) -> Iterator[tuple[str, Path]]:
    """List the published files, each with its artifact folder; hidden files are left out."""
    for name, folder in ARTIFACTS.items():
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield (PurePosixPath(name) / path.relative_to(root / folder).parent).as_posix(), path


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


def _numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, Mapping) and len(value) <= MAX_COUNTS:
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


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
    for folder, path in published_files(root):
        if not path.relative_to(root).as_posix().startswith(PASSING):
            total.update(f"{folder}/{path.name} {sha256_of(path)}\n".encode())
    return total.hexdigest()
