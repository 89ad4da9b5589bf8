"""Stages watched in MLflow while they run: trainings from their start, others after a minute."""

import os
import signal
import time

import pytest

from stages.graft.core import progress
from stages.graft.core.progress import Progress
from stages.graft.tracking import live as living
from stages.graft.tracking import server
from stages.graft.tracking.live import live_run, watch
from stages.graft.tracking.publish import publish
from tests.graft.tracking.test_publish import all_runs, root, rows, silent, start, write_project

__all__ = ["root", "silent"]


@pytest.mark.usefixtures("silent")
def test_a_run_id_in_the_environment_does_not_take_our_runs(root, monkeypatch):
    publish()
    [first] = all_runs(root)
    monkeypatch.setenv("MLFLOW_RUN_ID", first.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    write_project(root, split={"seed": 2})
    with live_run("train_head"):
        pass
    publish()
    assert os.environ["MLFLOW_RUN_ID"] == first.info.run_id
    state, child = all_runs(root)[1:]
    assert child.data.tags["mlflow.parentRunId"] == state.info.run_id
    assert len(all_runs(root)[0].data.metrics) == 8


@pytest.mark.usefixtures("silent")
def test_a_training_is_watched_as_a_child_of_its_states_run(root):
    with live_run("train_head") as live:
        live.log(1, {"val_loss": 1.5, "val_accuracy": 0.5})
        parent, child = all_runs(root)
        assert (parent.info.status, child.info.status) == ("RUNNING", "RUNNING")
        assert child.data.metrics == {"train_head/val_loss": 1.5, "train_head/val_accuracy": 0.5}
        live.log(2, {"val_loss": float("nan"), "val_accuracy": 0.75})
    with live_run("finetune"):
        pass
    publish()
    parent, head, fine = all_runs(root)
    assert [run.info.status for run in (parent, head, fine)] == ["FINISHED"] * 3
    assert head.data.tags["mlflow.parentRunId"] == fine.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert head.info.run_name == f"{parent.info.run_name}/train_head"
    assert (parent.data.metrics["accuracy"], parent.data.params["split.seed"]) == (0.9, "1")
    points = rows(root, f"select step, value from metrics where run_uuid = '{head.info.run_id}' and key like '%acc%'")
    assert sorted(points) == [(1, 0.5), (2, 0.75)]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")]
)
def test_an_interrupted_training_says_so(root, error, status):
    with pytest.raises(type(error)), live_run("finetune"):
        raise error
    assert [run.info.status for run in all_runs(root)] == [status, status]
    publish()
    assert [run.info.status for run in all_runs(root)] == ["FINISHED", status]


TRAIN = """
import time
from stages.graft.tracking.live import live_run
with live_run("train_head") as live:
    live.log(1, {"val_loss": 1.0})
    print("training", flush=True)
    time.sleep(120)
"""


@pytest.mark.usefixtures("silent")
def test_what_a_killed_training_left_running_is_swept(root):
    with start(root, TRAIN) as training:
        assert training.stdout
        assert training.stdout.readline() == "training\n"
        write_project(root, split={"seed": 2})
        publish()  # of another state; the training lives
        assert [run.info.status for run in all_runs(root)] == ["RUNNING", "RUNNING", "FINISHED"]
        training.send_signal(signal.SIGKILL)
        training.wait()
    with live_run("finetune"):
        pass
    assert [run.info.status for run in all_runs(root)] == ["KILLED", "KILLED", "FINISHED", "FINISHED"]


def test_a_server_that_dies_during_a_training_is_given_up(root, monkeypatch, capsys):
    from mlflow import MlflowClient

    calls = []

    def fail(*_, **__):
        calls.append(1)
        raise ConnectionError("gone")

    with live_run("train_head") as live:
        monkeypatch.setattr(MlflowClient, "log_batch", fail)
        for epoch in range(5):
            live.log(epoch, {"val_loss": 1.0})
    [line] = capsys.readouterr().err.splitlines()
    assert line == "tracking: train_head goes on unwatched: gone; its curve is published with the results"
    assert len(calls) == 1


@pytest.mark.usefixtures("silent")
def test_ctrl_c_while_an_epoch_is_logged(root, monkeypatch):
    from mlflow import MlflowClient

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    def train() -> None:
        with live_run("train_head") as live:
            monkeypatch.setattr(MlflowClient, "log_batch", interrupt)
            live.log(1, {"val_loss": 1.0})

    with pytest.raises(KeyboardInterrupt):
        train()
    assert [run.info.status for run in all_runs(root)] == ["KILLED", "KILLED"]


def wait_for(condition, seconds=30.0):
    """Wait until a condition holds; returns whether it does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()


@pytest.fixture
def soon(monkeypatch):
    """A stage is watched from its start."""
    monkeypatch.setattr(living, "SECONDS_UNSEEN", 0.0)
    monkeypatch.setattr(living, "SECONDS_BETWEEN_POINTS", 0.05)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 1e9)  # no line on a slow machine


@pytest.mark.usefixtures("silent", "soon")
def test_a_long_stage_shows_how_much_is_done_and_what_it_takes(root):
    def shown() -> dict[str, float]:
        return all_runs(root)[-1].data.metrics if len(all_runs(root)) == 2 else {}

    with watch("extract"), Progress(8, desc="extract", unit="images") as shown_here:
        shown_here.advance(2)
        assert wait_for(lambda: "system/cpu_utilization_percentage" in shown())
        assert wait_for(lambda: shown().get("extract/images_done_percent") == 25)
        assert [run.info.status for run in all_runs(root)] == ["RUNNING", "RUNNING"]
    parent, child = all_runs(root)
    assert [run.info.status for run in (parent, child)] == ["FINISHED", "FINISHED"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    publish()
    assert len(all_runs(root)) == 2


@pytest.mark.usefixtures("silent")
def test_a_short_stage_is_not_shown_and_imports_nothing(root):
    (root / "mlflow.db").unlink()
    script = (
        "import sys; from stages.graft.tracking.live import watch\n"
        "with watch('extract'): pass\n"
        "print({'mlflow', 'pandas', 'pydantic', 'tqdm'} & sys.modules.keys())"
    )
    with start(root, script) as process:
        assert process.communicate() == ("set()\n", "")
    assert not (root / "mlflow.db").exists()


@pytest.mark.usefixtures("silent", "soon")
def test_a_training_that_shows_itself_is_shown_once(root):
    with live_run("finetune"), watch("finetune"):
        time.sleep(0.3)
    assert len(all_runs(root)) == 2


@pytest.mark.usefixtures("silent", "soon")
def test_a_long_stage_that_fails_says_so(root):
    def fail() -> None:
        with watch("extract"):
            assert wait_for(lambda: len(all_runs(root)) == 2)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert [run.info.status for run in all_runs(root)] == ["FAILED", "FAILED"]


@pytest.mark.usefixtures("soon")
def test_a_long_stage_goes_on_when_no_server_answers(root, monkeypatch, capsys):
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with watch("extract"):
        time.sleep(0.5)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: extract runs unwatched: no answer from http://127.0.0.1:9")
