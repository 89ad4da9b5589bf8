"""MLflow tracking: one run per pipeline state, published from its files, with a child for each training watched live.

The only module that imports MLflow, and only once a store has answered: the import takes seconds. Nothing here breaks
a build: what goes wrong becomes one line, and `graft publish` publishes later, from the files.
"""

import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

from stages.graft.storage.files import atomic_path
from stages.graft.tracking.provenance import read_provenance
from stages.graft.tracking.run_state import RunState, read_results, read_state
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
    from mlflow import MlflowClient

LATER = "graft publish"
CURVE = "its curve is published with the results"


def publish(root: Path = Path()) -> None:
    """Write the run of the pipeline's present state from its files; once it is there, a second call changes nothing.

    Args:
        root: the pipeline's folder, with params.yaml, data/ and reports/.
    """
    with _harmless(f"warning: {{}}; the results are safe, `{LATER}` publishes them later"):
        state, results, tags = read_state(root), read_results(root), read_provenance(root)
        with _open(root, state.experiment) as runs:
            runs.sweep()
            run = runs.of(state, tags)
            news = runs.write(run, state, results, root)
            runs.adopt_commit(run, state, tags)
            offered = _offer(runs, run.info.run_id, state, root)
        done = "published" if news else "is published already"
        print(f"tracking: run {run.info.run_name} of {state.experiment} {done}")
        if offered:
            print(f"tracking: {offered}")


class LiveRun:
    """One training as it goes: takes its metrics epoch by epoch, or lets them pass when there is no store."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._runs: Runs | None = None
        self._ids: list[str] = []

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """Log one epoch's metrics, named as in the stage's curve, split first: `val_loss`, `train_accuracy`, …"""
        if self._runs is None:
            return
        logged = False
        with _harmless(f"{self._stage} goes on unwatched: {{}}; {CURVE}"):
            points = {f"{self._stage}/{name}": value for name, value in metrics.items()}
            self._runs.log_epoch(self._ids[0], epoch, points)
            logged = True
        if not logged:
            self._runs = None  # for good: a dead server is not waited for at every epoch

    def _begin(self, root: Path) -> None:
        state, tags = read_state(root), read_provenance(root)
        with _open(root, state.experiment) as runs:
            runs.sweep()
            self._ids = runs.begin_child(runs.of(state, tags), self._stage)
            self._runs = runs

    def _end(self, status: str) -> None:
        if self._runs is not None:
            for run_id in self._ids:
                self._runs.client.set_terminated(run_id, status=status)


@contextmanager
def live_run(stage: str, root: Path = Path()) -> Iterator[LiveRun]:
    """Watch a training in MLflow while it runs, as a child of its state's run.

    Args:
        stage: the stage that trains.
        root: the pipeline's folder.
    """
    live, status = LiveRun(stage), "FAILED"
    with _harmless(f"{stage} runs unwatched: {{}}; {CURVE}"):
        live._begin(root)
    try:
        yield live
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        with _harmless(f"MLflow does not know that {stage} has ended ({status}): {{}}"):
            live._end(status)


@contextmanager
def _harmless(line: str) -> Iterator[None]:
    """Turn whatever goes wrong into one line on stderr, with the reason in its braces."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow and what it imports
            yield
    except Exception as error:
        reason = shorten(hide_password(str(error)), 200, placeholder="…") or type(error).__name__
        print(f"tracking: {line.format(reason)}", file=sys.stderr)


@contextmanager
def _open(root: Path, experiment: str) -> Iterator[Runs]:
    """Open the store and the experiment, made if they are new; on a local store, one process at a time."""
    address = find_address(root)
    with publishing_lock(address):
        check_alive(address)
        configure_mlflow()
        from mlflow import MlflowClient, entities

        if address.database and not address.database.exists():
            _make_database(address.database)
        client = MlflowClient(address.uri)
        yield Runs(client=client, entities=entities, experiment=_find_experiment(client, experiment, address))


def _offer(runs: Runs, run_id: str, state: RunState, root: Path) -> str | None:
    """Register the model, if `tracking.model_name` and the gate say so; gives what became of it, in a line."""
    if state.model_name is None:
        return None
    from stages.graft.tracking.registry import Registry

    uri = runs.client.tracking_uri
    return Registry(client=runs.client, uri=uri, experiment=runs.experiment, name=state.model_name).offer(run_id, root)


def _make_database(path: Path) -> None:
    """Make MLflow's tables elsewhere and bring them whole: a database whose making was cut short never opens again."""
    from mlflow import MlflowClient

    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, atomic_path(path) as temporary:
        fresh = Path(folder) / path.name
        MlflowClient(f"sqlite:///{fresh.as_posix()}")
        shutil.copyfile(fresh, temporary)


def _find_experiment(client: "MlflowClient", name: str, address: Address) -> str:
    """Find or make the experiment; gives its id."""
    from mlflow import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, address.artifacts.as_uri() if address.artifacts else None))
        except MlflowException:  # on a server, another process may have been faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RuntimeError(f"the MLflow experiment `{name}` is deleted: restore it, or change `tracking.experiment`")
    return str(found.experiment_id)
