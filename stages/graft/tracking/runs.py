"""The runs of one MLflow experiment: the run of a state is found or started, written from files, kept truthful.

MLflow is handed in: only tracking.py imports it.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.graft.core.processes import is_gone, this_host, this_process
from stages.graft.tracking.provenance import Tags, is_dirty, run_name
from stages.graft.tracking.run_state import Results, RunState, published_files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

STATE, RESULTS, STAGE = "graft.state", "graft.results", "graft.stage"
"""Tags: the state a run belongs to; the digest of what it holds, written last; of a child, the stage that trains."""

HOST, PROCESS = "graft.host", "graft.process"
"""Tags: who writes a run that is still RUNNING."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """An open experiment."""

    client: "MlflowClient"
    entities: Any
    """The module mlflow.entities."""
    experiment: str
    """The experiment's id."""

    def of(self, state: RunState, tags: Tags) -> "Run":
        """Find or start the run of a state; of two started at once on a server, the earlier stays."""
        if found := self._find(state):
            return found
        marks = {STATE: state.key, "md5.data": state.data_md5, "mlflow.source.name": "dvc repro", **_owner()}
        run = self.client.create_run(self.experiment, tags=tags | marks, run_name=run_name(tags, state.key))
        first = self._find(state) or run
        if first.info.run_id != run.info.run_id:
            self.client.delete_run(run.info.run_id)
            return first
        self.log(run.info.run_id, params=state.params)
        return self.client.get_run(run.info.run_id)

    def write(self, run: "Run", state: RunState, results: Results, root: Path) -> bool:
        """Bring a run to what the files say; False when it was there already.

        The results' digest goes last, so that a write cut short is done again.
        """
        run_id, known = run.info.run_id, run.data.params
        if run.data.tags.get(RESULTS) == results.digest and run.info.status == "FINISHED":
            return False
        missing = {name: value for name, value in state.params.items() if name not in known}
        self.log(run_id, params=missing, tags={RESULTS: "being written"})
        self.log(run_id, points=self._new_points(run, results))
        if not (run.inputs and run.inputs.dataset_inputs):
            self.client.log_inputs(run_id, datasets=[self._dataset(state)])
        for folder, path in published_files(root):
            # One by one: log_artifacts cannot replace the read-only copies it makes of files linked to DVC's cache.
            self.client.log_artifact(run_id, str(path), folder)
        self.log(run_id, tags={RESULTS: results.digest})
        self.client.set_terminated(run_id, status="FINISHED")
        return True

    def adopt_commit(self, run: "Run", state: RunState, tags: Tags) -> None:
        """Give a run that was made before its changes were committed the commit that now holds them."""
        old = run.data.tags
        if not is_dirty(old) or is_dirty(tags):
            return
        self.log(run.info.run_id, tags=tags)
        if "DVC_EXP_NAME" not in old and run.info.run_name == run_name(old, state.key):
            self.client.update_run(run.info.run_id, name=run_name(tags, state.key))

    def begin_child(self, parent: "Run", stage: str) -> list[str]:
        """Start a training's own run below its state's run; gives the ids of both, which now are RUNNING."""
        self.log(parent.info.run_id, tags=_owner())
        self.client.update_run(parent.info.run_id, status="RUNNING")
        tags = _owner() | {"mlflow.parentRunId": parent.info.run_id, STAGE: stage}
        child = self.client.create_run(self.experiment, tags=tags, run_name=f"{parent.info.run_name}/{stage}")
        return [child.info.run_id, parent.info.run_id]

    def sweep(self) -> None:
        """Mark as KILLED what a process of this host left RUNNING when it was killed."""
        query = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{this_host()}'"
        for run in self.client.search_runs([self.experiment], query):
            if is_gone(run.data.tags.get(PROCESS, "")):
                self.client.set_terminated(run.info.run_id, status="KILLED")

    def log(
        self,
        run_id: str,
        *,
        params: dict[str, str] | None = None,
        tags: Tags | None = None,
        points: "list[Metric] | None" = None,
    ) -> None:
        """Log in as few requests as MLflow's limits allow: 100 parameters, 100 tags, 1000 entries in all."""
        p = [self.entities.Param(*pair) for pair in (params or {}).items()]
        t = [self.entities.RunTag(*pair) for pair in (tags or {}).items()]
        m = points or []
        while p or t or m:
            self.client.log_batch(run_id, metrics=m[:800], params=p[:100], tags=t[:100])
            p, t, m = p[100:], t[100:], m[800:]

    def log_epoch(self, run_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """Log metrics at one step, as of now."""
        self.log(run_id, points=[self.entities.Metric(name, value, _now(), epoch) for name, value in metrics.items()])

    def _find(self, state: RunState) -> "Run | None":
        query, oldest = f"tags.`{STATE}` = '{state.key}'", ["attributes.start_time ASC"]
        found = self.client.search_runs([self.experiment], query, order_by=oldest, max_results=1)
        return found[0] if found else None

    def _new_points(self, run: "Run", results: Results) -> "list[Metric]":
        """Points the run lacks; a first value has the run's start as its time, so that two writers write the same."""
        points = []
        for name, values in results.series.items():
            known = self._history(run, name)
            for step, value in values.items():
                if step not in known:
                    points.append(self.entities.Metric(name, value, run.info.start_time, step))
                elif repr(known[step]) != repr(value):  # NaN equals NaN here
                    points.append(self.entities.Metric(name, value, _now(), step))
        return points

    def _history(self, run: "Run", name: str) -> dict[int, float]:
        """The latest value at each step of a metric."""
        points = self.client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        return {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}

    def _dataset(self, state: RunState) -> "DatasetInput":
        dataset = self.entities.Dataset(
            name=Path(state.source).name[:250] or "images",
            digest=state.data_md5,
            source_type="local",
            source=json.dumps({"uri": state.source}),
            profile=json.dumps({"num_rows": state.num_images}),
        )
        use: DatasetInput = self.entities.DatasetInput(dataset, [self.entities.InputTag("mlflow.data.context", "all")])
        return use


def _owner() -> Tags:
    return {HOST: this_host(), PROCESS: this_process()}


def _now() -> int:
    return int(time.time() * 1000)
