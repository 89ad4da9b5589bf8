"""MLflow tracking: one run for each state of the pipeline, written from its files, with its model.

MLflow is imported only after the store has answered: the import takes seconds. An error here never breaks a build: it
becomes one line, and `graft publish` publishes later, from the files.
"""

import shutil
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

from stages.graft.core.params import load_params
from stages.graft.storage.files import atomic_path
from stages.graft.tracking.description import describe_run
from stages.graft.tracking.experiment import find_experiment
from stages.graft.tracking.logged_models import find_or_log_model
from stages.graft.tracking.provenance import read_provenance
from stages.graft.tracking.run_state import BUNDLE, PARAMS, RunState, TrackingParams, read_results, read_state
from stages.graft.tracking.runs import Runs
from stages.graft.tracking.server import (
    check_alive,
    configure_mlflow,
    find_address,
    hide_password,
    publishing_lock,
    where_to_look,
)

if TYPE_CHECKING:
    import pandas as pd


def publish(root: Path = Path()) -> None:
    """Write the run of the pipeline's present state from the files in its folder; a second call changes nothing."""
    with errors_in_one_line("warning: {}; the results are safe, `graft publish` publishes them later"):
        state, results, tags = read_state(root), read_results(root), read_provenance(root)
        description = describe_run(root, state, results.times, tags)
        with open_runs(root, state.experiment) as runs:
            runs.close_abandoned()
            run = runs.find_or_start(state, tags, sum(results.times.values()))
            is_new = runs.write(run, state, results, description, root)
            runs.update_commit(run, state, tags)
            if (root / BUNDLE).is_file():
                find_or_log_model(runs.client, runs.experiment, run.info.run_id, root)
            decision = _register_model(runs, run.info.run_id, state, root)
        done = "published" if is_new else "is published already"
        place = where_to_look(find_address(root), runs.experiment, run.info.run_id)
        print(f"tracking: run {run.info.run_name} of {state.experiment} {done}; {place}")
        if decision:
            print(f"tracking: {decision}")


def publish_comparison(table: "pd.DataFrame", files: Sequence[Path], root: Path = Path()) -> None:
    """Write a comparison of networks: one run with its files, and a child run for each row of the table."""
    with errors_in_one_line("warning: {}; the table is safe"):
        experiment = load_params("tracking", TrackingParams, root / PARAMS).experiment
        tags = read_provenance(root)
        with open_runs(root, experiment) as runs:
            runs.write_comparison(table, files, tags)
        print(f"tracking: {len(table)} runs of {experiment} published")


@contextmanager
def errors_in_one_line(line: str) -> Iterator[None]:
    """Catch every error and print one line to stderr, with the reason in its braces; show no warning of MLflow."""
    try:
        with _no_warnings():
            yield
    except Exception as error:
        reason = shorten(hide_password(str(error)), 200, placeholder="…") or type(error).__name__
        print(f"tracking: {line.format(reason)}", file=sys.stderr)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Hide the warnings of MLflow and what it imports.

    Python's filters belong to the whole process: another thread leaves them alone, since a fit may be recording
    warnings at that time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def open_runs(root: Path, experiment: str) -> Iterator[Runs]:
    """Open the store and the experiment; create them if they are new."""
    address = find_address(root)
    with publishing_lock(address):
        check_alive(address)
        configure_mlflow()
        from mlflow import MlflowClient, entities

        if address.database and not address.database.exists():
            _make_database(address.database)
        client = MlflowClient(address.uri)
        yield Runs(client=client, entities=entities, experiment=find_experiment(client, experiment, address))


def _register_model(runs: Runs, run_id: str, state: RunState, root: Path) -> str | None:
    """Register the model if the gate allows it; returns the decision in a line."""
    from stages.graft.tracking.registry import open_registry

    return open_registry(runs.client, runs.experiment, state, root).register(run_id, root)


def _make_database(path: Path) -> None:
    """Create MLflow's tables in a temporary folder and move them: a half-made database never opens again."""
    from mlflow import MlflowClient

    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, atomic_path(path) as temporary:
        fresh = Path(folder) / path.name
        MlflowClient(f"sqlite:///{fresh.as_posix()}")
        shutil.copyfile(fresh, temporary)
