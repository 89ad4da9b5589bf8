"""The runs of one MLflow experiment: find or start the run of a state, write it from files, keep its status true.

MLflow is passed in: importing this module does not import it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.graft.core.processes import is_gone, this_host, this_process
from stages.graft.tracking.datasets import split_datasets
from stages.graft.tracking.provenance import VERSION, Tags, is_dirty, run_name
from stages.graft.tracking.run_state import Results, RunState, published_files

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

STATE, RESULTS, STAGE = "graft.state", "graft.results", "graft.stage"
"""Tags: the state of a run; the digest of its results, written last; of a child run, its stage."""

NOTE = "mlflow.note.content"
"""Tag: the description, in Markdown."""

HOST, PROCESS = "graft.host", "graft.process"
"""Tags: which process writes a run that is RUNNING."""

MAX_PARAMS, MAX_TAGS, MAX_METRICS = 100, 100, 800
"""Entries of one request; MLflow allows 100, 100, and 1000 in all."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """An open experiment."""

    client: "MlflowClient"
    entities: Any
    """The module mlflow.entities."""
    experiment: str
    """The experiment's id."""

    def find_or_start(self, state: RunState, tags: Tags, seconds: float) -> "Run":
        """Find or start the run of a state; if two processes start one on a server, the earlier run stays.

        Args:
            state: the pipeline's state.
            tags: its origin; the libraries' versions are in the description alone.
            seconds: time since the work began.
        """
        if run := self._find(state):
            return run
        own = {STATE: state.key, "md5.data": state.data_md5, "mlflow.source.name": "dvc repro", **_owner()}
        own |= {name: tag for name, tag in tags.items() if not name.startswith(VERSION)}
        began, name = _now() - round(1000 * seconds), run_name(tags, state.key)
        run = self.client.create_run(self.experiment, began, own, name)
        first = self._find(state) or run
        if first.info.run_id != run.info.run_id:
            self.client.delete_run(run.info.run_id)
            return first
        self._log(run.info.run_id, params=state.params)
        return self.client.get_run(run.info.run_id)

    def write(self, run: "Run", state: RunState, results: Results, description: str, root: Path) -> bool:
        """Write the files' content and a description in Markdown to a run; returns False when the run has it already.

        The results' digest is written last, so that an interrupted write is repeated. The run then has lasted as long
        as the stages took together.
        """
        run_id, known = run.info.run_id, run.data.params
        if run.data.tags.get(RESULTS) == results.digest and run.info.status == "FINISHED":
            return False
        missing = {name: value for name, value in state.params.items() if name not in known}
        self._log(run_id, params=missing, tags={RESULTS: "being written"}, metrics=self._new_metrics(run, results))
        if not (run.inputs and run.inputs.dataset_inputs):
            self.client.log_inputs(run_id, datasets=split_datasets(root, state.source, self.entities))
        for folder, path in published_files(root):
            # Single files: log_artifacts cannot replace the read-only copies of files linked to DVC's cache.
            self.client.log_artifact(run_id, str(path), folder)
        self._log(run_id, tags={NOTE: description, RESULTS: results.digest})
        end = run.info.start_time + round(1000 * sum(results.times.values())) if results.times else _now()
        self.client.set_terminated(run_id, "FINISHED", min(end, _now()))
        return True

    def update_commit(self, run: "Run", state: RunState, tags: Tags) -> None:
        """Give a run of uncommitted changes the commit that now has them."""
        old = run.data.tags
        if not is_dirty(old) or is_dirty(tags):
            return
        self._log(run.info.run_id, tags=tags)
        if "DVC_EXP_NAME" not in old and run.info.run_name == run_name(old, state.key):
            self.client.update_run(run.info.run_id, name=run_name(tags, state.key))

    def start_child(self, parent: "Run", stage: str, seconds: float) -> list[str]:
        """Start a stage's run below its state's run; returns the ids of child and parent, which are RUNNING.

        `seconds` is the time since the stage began.
        """
        parent_id = parent.info.run_id
        self._log(parent_id, tags=_owner())
        self.client.update_run(parent_id, status="RUNNING")
        tags = _owner() | {"mlflow.parentRunId": parent_id, STAGE: stage}
        began, name = _now() - round(1000 * seconds), f"{parent.info.run_name}/{stage}"
        return [self.client.create_run(self.experiment, began, tags, name).info.run_id, parent_id]

    def write_comparison(self, table: "pd.DataFrame", files: Sequence[Path], tags: Tags) -> None:
        """Write one run with files and, below it, a run for each network of a table: numbers are its metrics."""
        source = {"mlflow.source.name": "graft compare-backbones"}
        parent = self.client.create_run(self.experiment, tags=tags | source, run_name="compare-backbones").info.run_id
        for path in files:
            self.client.log_artifact(parent, str(path))
        for record in table.to_dict("records"):
            below = source | {"mlflow.parentRunId": parent}
            child = self.client.create_run(self.experiment, tags=below, run_name=str(record["network"])).info.run_id
            texts = {str(name): value for name, value in record.items() if isinstance(value, str)}
            numbers = {str(name): float(value) for name, value in record.items() if name not in texts}
            metrics = [self.entities.Metric(name, value, _now(), 0) for name, value in numbers.items()]
            self._log(child, params=texts, metrics=metrics)
            self.client.set_terminated(child, status="FINISHED")
        self.client.set_terminated(parent, status="FINISHED")

    def close_abandoned(self) -> None:
        """Mark as KILLED the runs of processes of this host that ended without closing them."""
        query = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{this_host()}'"
        for run in self.client.search_runs([self.experiment], query):
            if is_gone(run.data.tags.get(PROCESS, "")):
                self.client.set_terminated(run.info.run_id, status="KILLED")

    def log_points(self, run_id: str, step: int, metrics: dict[str, float]) -> None:
        """Log metrics at one step, with the present time."""
        self._log(run_id, metrics=[self.entities.Metric(name, value, _now(), step) for name, value in metrics.items()])

    def watch_machine(self, run_id: str, seconds: float) -> "SystemMetricsMonitor":
        """Log what processors, memory, disk, network and GPUs do, every so many seconds, until `finish` is called."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        uri = self.client.tracking_uri
        monitor = SystemMetricsMonitor(run_id, seconds, tracking_uri=uri)  # type: ignore[no-untyped-call]
        monitor.start()  # type: ignore[no-untyped-call]
        return monitor

    def _log(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        tags: Tags | None = None,
        metrics: "list[Metric] | None" = None,
    ) -> None:
        """Log in as few requests as MLflow's limits allow."""
        p = [self.entities.Param(*pair) for pair in (params or {}).items()]
        t = [self.entities.RunTag(*pair) for pair in (tags or {}).items()]
        m = metrics or []
        while p or t or m:
            self.client.log_batch(run_id, metrics=m[:MAX_METRICS], params=p[:MAX_PARAMS], tags=t[:MAX_TAGS])
            p, t, m = p[MAX_PARAMS:], t[MAX_TAGS:], m[MAX_METRICS:]

    def _find(self, state: RunState) -> "Run | None":
        query, oldest = f"tags.`{STATE}` = '{state.key}'", ["attributes.start_time ASC"]
        runs = self.client.search_runs([self.experiment], query, order_by=oldest, max_results=1)
        return runs[0] if runs else None

    def _new_metrics(self, run: "Run", results: Results) -> "list[Metric]":
        """List the values the run lacks; a first value has the run's start as its time, so that two writers agree."""
        new = []
        for name, values in results.series.items():
            known = self._history(run, name)
            for step, value in values.items():
                if repr(known.get(step)) != repr(value):  # by text, as NaN differs from itself
                    timestamp = _now() if step in known else run.info.start_time
                    new.append(self.entities.Metric(name, value, timestamp, step))
        return new

    def _history(self, run: "Run", name: str) -> dict[int, float]:
        """The latest value at each step of a metric."""
        points = self.client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        return {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}


def _owner() -> Tags:
    return {HOST: this_host(), PROCESS: this_process()}


def _now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
