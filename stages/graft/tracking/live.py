"""A stage in MLflow while it runs: its curves, its progress and what it takes of the machine, as a child run.

MLflow is imported when a training begins, or when a stage has lasted for a minute: the import takes seconds. An error
here costs one line and never breaks a stage.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

SECONDS_UNSEEN = 60.0
"""A stage that ends sooner has no run of its own, unless it trains."""

SECONDS_BETWEEN_POINTS = 5.0
"""Between two points of a stage's progress, and of the machine's load."""

PATIENCE = 10.0
"""Longest wait for a server at the end of a stage, in seconds."""

CURVE = "its curve is published with the results"

_training = threading.Event()
"""Whether a training shows itself; then its stage needs no second run."""


class LiveRun:
    """The child run of a stage; it logs nothing when there is no store."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._runs: Any = None
        self._ids: list[str] = []
        self._monitor: Any = None

    @property
    def has_begun(self) -> bool:
        """Whether MLflow has the run."""
        return self._runs is not None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Log metrics at a step, such as an epoch, named as in the stage's curve, split first: `val_loss`, …"""
        from stages.graft.tracking.publish import errors_in_one_line

        if self._runs is None:
            return
        is_logged = False
        with errors_in_one_line(f"{self._stage} goes on unwatched: {{}}; {CURVE}"):
            points = {f"{self._stage}/{name}": value for name, value in metrics.items()}
            self._runs.log_points(self._ids[0], step, points)
            is_logged = True
        if not is_logged:
            self._runs = None  # no further step waits for a dead server

    def begin(self, root: Path, seconds: float) -> None:
        """Start the run, and log what the stage takes of the machine; it began so many seconds ago."""
        from stages.graft.tracking.provenance import read_provenance
        from stages.graft.tracking.publish import open_runs
        from stages.graft.tracking.run_state import STAGES, read_state, read_times

        state, tags, times = read_state(root), read_provenance(root), read_times(root)
        earlier = sum(times.get(stage, 0) for stage in takewhile(lambda stage: stage != self._stage, STAGES))
        with open_runs(root, state.experiment) as runs:
            runs.close_abandoned()
            parent = runs.find_or_start(state, tags, earlier + seconds)
            self._ids = runs.start_child(parent, self._stage, seconds)
            self._runs = runs
        self._monitor = runs.watch_machine(self._ids[0], SECONDS_BETWEEN_POINTS)

    def end(self, status: str) -> None:
        """End the run with MLflow's word for how the stage ended."""
        if self._runs is None:
            return
        if self._monitor is not None:
            self._monitor.finish()
        for run_id in self._ids:
            self._runs.client.set_terminated(run_id, status=status)


@contextmanager
def live_run(stage: str, root: Path = Path()) -> Iterator[LiveRun]:
    """Show the training of a stage in MLflow while it runs, as a child of its state's run."""
    from stages.graft.tracking.publish import errors_in_one_line

    live = LiveRun(stage)
    with errors_in_one_line(f"{stage} runs unwatched: {{}}; {CURVE}"):
        live.begin(root, seconds=0)
    _training.set()
    try:
        with _ended(live, stage):
            yield live
    finally:
        _training.clear()


@contextmanager
def watch(stage: str, root: Path = Path()) -> Iterator[None]:
    """Show a stage in MLflow with its progress, once it has lasted for a minute; a training shows itself."""
    live, is_over, start = LiveRun(stage), threading.Event(), time.monotonic()
    thread = threading.Thread(target=_follow, args=(live, stage, root, is_over, start), daemon=True)
    thread.start()
    with _ended(live, stage):
        try:
            yield
        finally:
            is_over.set()
            thread.join(PATIENCE)


def _follow(live: LiveRun, stage: str, root: Path, is_over: threading.Event, start: float) -> None:
    """Wait a minute, then log the share that is done until the stage is over."""
    if is_over.wait(SECONDS_UNSEEN) or _training.is_set():
        return
    from stages.graft.core.progress import running
    from stages.graft.tracking.publish import errors_in_one_line

    with errors_in_one_line(f"{stage} runs unwatched: {{}}"):
        live.begin(root, time.monotonic() - start)
    while not is_over.wait(SECONDS_BETWEEN_POINTS):
        step = running()
        if step is not None and step.total:
            seconds = round(time.monotonic() - start)
            live.log(seconds, {f"{step.unit}_done_percent": 100 * step.done / step.total})


@contextmanager
def _ended(live: LiveRun, stage: str) -> Iterator[None]:
    """Tell MLflow at the end how the stage ended."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if live.has_begun:
            from stages.graft.tracking.publish import errors_in_one_line

            with errors_in_one_line(f"MLflow does not know that {stage} has ended ({status}): {{}}"):
                live.end(status)
