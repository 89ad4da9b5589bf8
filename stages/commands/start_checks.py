"""What is checked before any work: all of params.yaml and, by `graft repro`, the source and the store.

Every stage calls `check_all_params` by name: it reaches the parameters of all packages but changes no output, so no
stage depends on it.
"""

import sys
from importlib import import_module
from pathlib import Path

from pydantic import ConfigDict

from stages.graft.core.errors import ParamsError
from stages.graft.core.params import PARAMS, Params, check_params, load_params
from stages.graft.core.stage import FOLDER
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.hashing import sha256_of

MODELS = {
    "ingest": "stages.graft.data.ingest_params.IngestParams",
    "duplicates": "stages.graft.data.image_groups.DuplicatesParams",
    "split": "stages.split.SplitParams",
    "backbone": "stages.graft.backbone.weights.BackboneParams",
    "extract": "stages.graft.backbone.runtime_choice.ExtractParams",
    "train_head": "stages.graft.heads.head_params.TrainHeadParams",
    "finetune": "stages.graft.training.finetune_params.FinetuneParams",
    "explore": "stages.graft.evaluation.explore_params.ExploreParams",
    "explain": "stages.graft.evaluation.explain_params.ExplainParams",
    "evaluate": "stages.graft.evaluation.evaluate_params.EvaluateParams",
    "report": "stages.graft.report.report_params.ReportParams",
    "compute": "stages.graft.compute.settings.ComputeParams",
    "tracking": "stages.graft.tracking.run_state.TrackingParams",
}
"""The model of each section; modules that import nothing heavy."""

RECORD, INGEST_REPORT = "data/unwatched.json", "reports/ingest.json"
"""Files that DVC does not watch, as `ingest` found them, and the report of that run."""

CHECKED = f"{FOLDER}/params.sha256"
"""SHA-256 of the params file that was found right last, so that a run checks it once."""


def check_all_params(root: Path = Path()) -> None:
    """Check every section of params.yaml, unless that has been done since it changed.

    Raises:
        ParamsError: names every value that is not allowed.
    """
    params, checked = root / PARAMS, root / CHECKED
    if not params.is_file():  # the stage says so
        return
    digest = sha256_of(params)
    if checked.is_file() and checked.read_text(encoding="utf-8") == digest:
        return
    check_params({section: _model(name) for section, name in MODELS.items()}, params)
    checked.parent.mkdir(parents=True, exist_ok=True)
    checked.write_text(digest, encoding="utf-8")


def warn_of_changed_images(stage: str, root: Path = Path()) -> None:
    """Print a line when files that DVC does not watch have changed since `ingest` read them."""
    if stage == "ingest" or not (root / RECORD).is_file():
        return
    from stages.graft.data.unwatched import changed_files  # seldom needed, and it reaches much

    if changed := changed_files(root / INGEST_REPORT, root / RECORD):
        print(
            f"{stage}: warning: {len(changed)} images have changed since `ingest` read them, such as {changed[0]}; "
            "DVC does not watch them, `graft repro` does",
            file=sys.stderr,
        )


def check_start() -> None:
    """Check all that `dvc repro` needs, before it removes the outputs of the stages that it runs.

    Raises:
        ParamsError: a value is not allowed, or a source or the file of given labels does not exist.
        OSError: the store cannot be made.
    """
    check_all_params()
    store_folder().mkdir(parents=True, exist_ok=True)
    for key, path in load_params("ingest", SourceParams):
        if "://" not in path and not Path(path).exists():
            raise ParamsError(f"{PARAMS}: `ingest.{key}` names {path}, which does not exist (looked in {Path.cwd()})")


class SourceParams(Params):
    """The values of the section `ingest` that DVC reads too."""

    model_config = ConfigDict(extra="ignore")

    source: str
    unlabelled: str
    labels: str
    """As in the stage."""


def _model(name: str) -> type:
    module, _, model = name.rpartition(".")
    return getattr(import_module(module), model)  # type: ignore[no-any-return]
