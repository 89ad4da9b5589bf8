"""MLflow tracking: one run for each state of the pipeline, written from its files, with a child run for each training.

MLflow is imported only after the store has answered: the import takes seconds. An error here never breaks a build: it
becomes one line, and `graft publish` publishes later, from the files.
"""

import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

from stages.graft.core.params import load_params
from stages.graft.storage.files import atomic_path
from stages.graft.tracking.provenance import read_provenance
from stages.graft.tracking.run_state import PARAMS, RunState, TrackingParams, read_results, read_state
from stages.graft.tracking.runs import Runs
from stages.graft.tracking.server import (
    Address,
    check_alive,
    configure_mlflow,
    find_address,
    hide_password,
    publishing_lock,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

CURVE = "its curve is published with the results"


def publish(root: Path = Path()) -> None:
    """Write the run of the pipeline's present state from the files in its folder; a second call changes nothing."""
    with _errors_in_one_line("warning: {}; the results are safe, `graft publish` publishes them later"):
        state, results, tags = read_state(root), read_results(root), read_provenance(root)
        with _open_runs(root, state.experiment) as runs:
            runs.close_abandoned()
            run = runs.find_or_start(state, tags)
            is_new = runs.write(run, state, results, root)
            runs.update_commit(run, state, tags)
            decision = _register_model(runs, run.info.run_id, state, root)
        done = "published" if is_new else "is published already"
        print(f"tracking: run {run.info.run_name} of {state.experiment} {done}")
        if decision:
            print(f"tracking: {decision}")


def publish_comparison(table: "pd.DataFrame", files: Sequence[Path], root: Path = Path()) -> None:
    """Write a comparison of networks: one run with its files, and a child run for each row of the table."""
    with _errors_in_one_line("warning: {}; the table is safe"):
        experiment = load_params("tracking", TrackingParams, root / PARAMS).experiment
        tags = read_provenance(root)
        with _open_runs(root, experiment) as runs:
            runs.write_comparison(table, files, tags)
        print(f"tracking: {len(table)} runs of {experiment} published")


class LiveRun:
    """The child run of a training; it logs nothing when there is no store."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._runs: Runs | None = None
        self._ids: list[str] = []

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """Log one epoch's metrics, named as in the stage's curve, split first: `val_loss`, `train_accuracy`, …"""
        if self._runs is None:
            return
        is_logged = False
        with _errors_in_one_line(f"{self._stage} goes on unwatched: {{}}; {CURVE}"):
            points = {f"{self._stage}/{name}": value for name, value in metrics.items()}
            self._runs.log_epoch(self._ids[0], epoch, points)
            is_logged = True
        if not is_logged:
            self._runs = None  # no further epoch waits for a dead server

    def _begin(self, root: Path) -> None:
        state, tags = read_state(root), read_provenance(root)
        with _open_runs(root, state.experiment) as runs:
            runs.close_abandoned()
            self._ids = runs.start_child(runs.find_or_start(state, tags), self._stage)
            self._runs = runs

    def _end(self, status: str) -> None:
        if self._runs is not None:
            for run_id in self._ids:
                self._runs.client.set_terminated(run_id, status=status)


@contextmanager
def live_run(stage: str, root: Path = Path()) -> Iterator[LiveRun]:
    """Show the training of a stage in MLflow while it runs, as a child of its state's run."""
    live, status = LiveRun(stage), "FAILED"
    with _errors_in_one_line(f"{stage} runs unwatched: {{}}; {CURVE}"):
        live._begin(root)
    try:
        yield live
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        with _errors_in_one_line(f"MLflow does not know that {stage} has ended ({status}): {{}}"):
            live._end(status)


@contextmanager
def _errors_in_one_line(line: str) -> Iterator[None]:
    """Catch every error and print one line to stderr, with the reason in its braces."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow and what it imports
            yield
    except Exception as error:
        reason = shorten(hide_password(str(error)), 200, placeholder="…") or type(error).__name__
        print(f"tracking: {line.format(reason)}", file=sys.stderr)


@contextmanager
def _open_runs(root: Path, experiment: str) -> Iterator[Runs]:
    """Open the store and the experiment; create them if they are new."""
    address = find_address(root)
    with publishing_lock(address):
        check_alive(address)
        configure_mlflow()
        from mlflow import MlflowClient, entities

        if address.database and not address.database.exists():
            _make_database(address.database)
        client = MlflowClient(address.uri)
        yield Runs(client=client, entities=entities, experiment=_find_experiment(client, experiment, address))


def _register_model(runs: Runs, run_id: str, state: RunState, root: Path) -> str | None:
    """Register the model if `tracking.model_name` and the gate allow it; returns the decision in a line."""
    if state.model_name is None:
        return None
    from stages.graft.tracking.registry import Registry

    registry = Registry(client=runs.client, experiment=runs.experiment, name=state.model_name)
    return registry.register(run_id, root)


def _make_database(path: Path) -> None:
    """Create MLflow's tables in a temporary folder and move them: a half-made database never opens again."""
    from mlflow import MlflowClient

    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, atomic_path(path) as temporary:
        fresh = Path(folder) / path.name
        MlflowClient(f"sqlite:///{fresh.as_posix()}")
        shutil.copyfile(fresh, temporary)


def _find_experiment(client: "MlflowClient", name: str, address: Address) -> str:
    """Find or create the experiment; returns its id."""
    from mlflow import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, address.artifacts.as_uri() if address.artifacts else None))
        except MlflowException:  # on a server, another process may have created it
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise RuntimeError(f"the MLflow experiment `{name}` is deleted: restore it, or change `tracking.experiment`")
    return str(experiment.experiment_id)
