"""MLflow runs on real SQLite stores: what is published, once; trainings watched live; whatever may break."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stages.graft.storage.files import write_json, write_text
from stages.graft.tracking import publish as publishing
from stages.graft.tracking import runs, server
from stages.graft.tracking.live import live_run
from stages.graft.tracking.publish import publish, publish_comparison
from tests.conftest import REPOSITORY
from tests.support.features import ids_of

PARAMS = {
    "ingest": {"source": "data/plates.yaml", "sha256": None},
    "split": {"seed": 1, "fractions": [0.15, 1.0e-3]},
    "tracking": {"experiment": "plates"},
}

PIPELINE = """\
stages:
  train_head: {outs: [data/head, reports/train_head.json, reports/plots/train_head_curve.csv: {cache: false}]}
  evaluate: {outs: [data/bundle, reports/metrics.json, reports/predictions.csv], metrics: [reports/headline.json]}
"""

CURVE = "epoch,split,loss,accuracy\n1,train,1.5,0.25\n1,val,1.6,0.2\n2,train,0.5,0.75\n2,val,0.9,0.6\n"


def write_project(root: Path, **sections: object) -> Path:
    write_text(yaml.safe_dump(PARAMS | sections), root / "params.yaml")
    write_text(PIPELINE, root / "dvc.yaml")
    write_text("id,file,label\na,a.png,x\nb,b.png,y\n", root / "data/manifest.csv")
    one, other = ids_of(2)
    write_text(f"id,label,split\n{one},x,train\n{other},y,test\n", root / "data/splits.csv")
    write_json({"accuracy": 0.9, "num_test": 10}, root / "reports/metrics.json")
    write_json({"lowest_recall": 0.8}, root / "reports/headline.json")
    write_text("how fast it is", root / "reports/bench.md")
    write_json({"val_accuracy": 0.6, "kind": "mlp"}, root / "reports/train_head.json")
    write_text(CURVE, root / "reports/plots/train_head_curve.csv")
    write_text("id,file,label,predicted,confidence\n", root / "reports/predictions.csv")
    write_json({"backbone": {"sha256": "f00d"}}, root / "data/model/model.json")
    return root


@pytest.fixture
def root(tmp_path, monkeypatch, empty_store) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = write_project(tmp_path / "größe 100% so")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def silent(capsys) -> Iterator[None]:
    """Nothing went wrong unnoticed."""
    yield
    assert capsys.readouterr().err == ""


def all_runs(root: Path, experiment: str = "plates") -> list:
    """Every run of the experiment, the earliest first."""
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = MlflowClient(f"sqlite:///{root}/mlflow.db")
        found = client.get_experiment_by_name(experiment)
        return client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]) if found else []


def rows(root: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def dump(root: Path) -> tuple[list[str], dict[Path, int]]:
    """All that a store holds, with the times of its files."""
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return list(database.iterdump()), {p: p.stat().st_mtime_ns for p in (root / "mlartifacts").rglob("*")}


@pytest.mark.usefixtures("silent")
def test_a_run_holds_everything(root):
    publish()
    [run] = all_runs(root)
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "ingest.source": "data/plates.yaml",
        "ingest.sha256": "null",
        "split.seed": "1",
        "split.fractions": "[0.15, 0.001]",
        "tracking.experiment": "plates",
    }
    assert run.data.metrics == {
        "accuracy": 0.9,
        "lowest_recall": 0.8,
        "num_test_images": 10.0,
        "val_accuracy": 0.6,
        "train_head/train_loss": 0.5,
        "train_head/train_accuracy": 0.75,
        "train_head/val_loss": 0.9,
        "train_head/val_accuracy": 0.6,
    }
    curve = rows(root, "select step, value from metrics where key = 'train_head/val_loss' order by step")
    assert curve == [(1, 1.6), (2, 0.9)]
    assert run.data.tags["sha256.weights"] == "f00d"
    assert run.info.run_name == f"state-{run.data.tags[runs.STATE][:8]}"
    used = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert {context: json.loads(dataset.profile)["num_images"] for context, dataset in used.items()} == {
        "train": 1,
        "validation": 0,
        "test": 1,
    }
    assert {dataset.name for dataset in used.values()} == {"plates"}
    assert len({dataset.digest for dataset in used.values()}) == 3
    [folder] = (root / "mlartifacts").glob("*/artifacts")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "reports/metrics.json",
        "reports/headline.json",
        "reports/train_head.json",
        "reports/predictions.csv",
        "reports/plots/train_head_curve.csv",
    }


@pytest.mark.usefixtures("silent")
def test_publishing_again_changes_nothing(root):
    publish()
    before = dump(root)
    publish()
    assert dump(root) == before
    write_text("<p>the page, written again</p>", root / "reports/report.html")
    publish()
    assert dump(root) == before


@pytest.mark.usefixtures("silent")
def test_each_state_has_one_run(root):
    publish()
    write_project(root, split={"seed": 2})
    publish()
    write_text("id,file,label\na,a.png,x\n", root / "data/manifest.csv")
    publish()
    write_project(root)
    publish()
    assert [run.data.params["split.seed"] for run in all_runs(root)] == ["1", "2", "2"]


@pytest.mark.usefixtures("silent")
def test_other_results_of_one_state_go_to_its_run(root):
    publish()
    write_json({"accuracy": 0.8, "num_test": 10}, root / "reports/metrics.json")
    write_text(CURVE + "3,val,0.7,0.7\n", root / "reports/plots/train_head_curve.csv")
    publish()
    [run] = all_runs(root)
    assert (run.data.metrics["accuracy"], run.data.metrics["train_head/val_loss"]) == (0.8, 0.7)
    counts = dict(rows(root, "select key, count(*) from metrics group by key"))
    assert (counts["accuracy"], counts["num_test_images"]) == (2, 1)
    assert (counts["train_head/val_loss"], counts["train_head/train_loss"]) == (3, 2)


def test_a_write_cut_short_is_completed(root, monkeypatch, capsys):
    from mlflow import MlflowClient

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", lambda *_: 1 / 0)
        publish()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: warning: division by zero; the results are safe")
    [run] = all_runs(root)
    assert run.info.status == "RUNNING"
    publish()
    [run] = all_runs(root)
    assert run.info.status == "FINISHED"
    assert {count for _, count in rows(root, "select key, count(*) from metrics group by key, step")} == {1}
    assert len(list((root / "mlartifacts").rglob("metrics.json"))) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("silent")
def test_a_report_linked_to_dvcs_cache_is_copied(root):
    """A link would break when the cache is cleaned, a read-only copy could not be written over."""
    report = root / "reports/headline.json"
    for content in ("{}", '{"lowest_recall": 1}'):
        write_text(content, root / "cache")
        (root / "cache").chmod(0o444)
        report.unlink(missing_ok=True)
        report.symlink_to(root / "cache")
        publish()
        [copy] = (root / "mlartifacts").rglob("headline.json")
        assert not copy.is_symlink()
        assert copy.read_text() == content


@pytest.mark.usefixtures("silent")
def test_a_run_lasts_as_long_as_its_stages_took_together(root):
    for stage, seconds in (("extract", 60.0), ("evaluate", 1.5), ("report", 9.0)):
        record = {"seconds": seconds, "finished": "2026-01-01T10:00:00", "num_cpus": 2}
        write_text(json.dumps(record), root / f"reports/times/{stage}.json")
    publish()
    [run] = all_runs(root)
    assert run.info.end_time - run.info.start_time == 61_500
    assert abs(run.info.end_time - 1000 * time.time()) < 60_000
    assert "| extract | 60.0 |" in run.data.tags["mlflow.note.content"]


@pytest.mark.usefixtures("silent")
def test_the_experiment_opens_in_model_training_and_has_a_view_of_the_results(root):
    from mlflow import MlflowClient

    publish()
    tags = MlflowClient(f"sqlite:///{root}/mlflow.db").get_experiment_by_name("plates").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.results"])
    state = json.loads(view["state"])
    [run] = all_runs(root)
    assert "metrics.`accuracy`" in state["selectedColumns"]
    charts = [chart["selectedMetricKeys"] for chart in state["compareRunCharts"] if chart["type"] == "LINE"]
    assert ["train_head/train_loss", "train_head/val_loss"] in charts
    assert {"train_head/train_loss", "train_head/val_loss", "train_head/val_accuracy"} <= run.data.metrics.keys()


@pytest.mark.usefixtures("silent")
def test_more_parameters_and_metrics_than_fit_a_batch(root):
    write_project(root, many={f"key_{k}": k for k in range(120)})
    points = "".join(f"{epoch},val,{epoch}\n" for epoch in range(1000))
    write_text(f"epoch,split,loss\n{points}", root / "reports/plots/train_head_curve.csv")
    publish()
    [run] = all_runs(root)
    assert len(run.data.params) == 125
    assert rows(root, "select count(*) from metrics where key = 'train_head/val_loss'") == [(1000,)]


@pytest.mark.usefixtures("silent")
def test_a_run_from_before_the_commit_gets_the_commit(root):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "-b", "main")
    git("add", "params.yaml", "data", "reports")
    git("commit", "-m", "one")
    write_project(root, split={"seed": 2})
    publish()
    [before] = all_runs(root)
    git("commit", "-am", "two")
    publish()
    [after] = all_runs(root)
    assert before.info.run_name == f"main-{before.data.tags['git.commit'][:7]}-dirty"
    assert after.info.run_name == f"main-{after.data.tags['git.commit'][:7]}" != before.info.run_name
    assert after.data.tags["git.dirty"] == "false"
    unchanged = dump(root)
    publish()
    assert dump(root) == unchanged


@pytest.mark.usefixtures("silent")
def test_experiments_land_in_the_real_repository(root, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-cats")
    elsewhere = write_project(tmp_path / "exps/tmp1")
    monkeypatch.chdir(elsewhere)
    publish()
    [run] = all_runs(root)
    assert run.info.run_name == "puffy-cats"
    assert run.info.artifact_uri.startswith((root / "mlartifacts").as_uri())
    assert not list(elsewhere.glob("ml*"))


def start(root: Path, script: str, **environment: str) -> subprocess.Popen:
    """Run a script in a project, in a process of its own."""
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env=variables, stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.rare
def test_several_processes_make_one_store(root, tmp_path):
    """Three at once on a store that is not there: two of one state, one of another."""
    (root / "mlflow.db").unlink()
    folders = [write_project(tmp_path / f"exp{k}", split={"seed": k // 2}) for k in range(3)]
    script = "import sys; from stages.graft.tracking.publish import publish; publish(); print('torch' in sys.modules)"
    ended = [process.communicate() for process in [start(folder, script, DVC_ROOT=str(root)) for folder in folders]]
    assert [errors for _, errors in ended] == ["", "", ""]
    assert {output.splitlines()[1] for output, _ in ended} == {"False"}
    assert sorted(run.data.params["split.seed"] for run in all_runs(root)) == ["0", "1"]
    assert {run.info.status for run in all_runs(root)} == {"FINISHED"}
    assert len(rows(root, "select * from metrics")) == 2 * 12
    assert not list(root.glob(".mlflow.db*"))


@contextmanager
def mute_server() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        yield f"http://127.0.0.1:{mute.getsockname()[1]}"


@pytest.mark.parametrize("mute", [False, True])
def test_a_dead_server_costs_one_warning(root, monkeypatch, capsys, mute):
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    with mute_server() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri if mute else "http://127.0.0.1:9")
        began = time.monotonic()
        with live_run("train_head") as live:
            live.log(1, {"val_loss": 1.0})
        note = capsys.readouterr().err
        publish()
    warning = capsys.readouterr().err
    assert time.monotonic() - began < 10
    assert len(note.splitlines()) == len(warning.splitlines()) == 1
    assert note.startswith("tracking: train_head runs unwatched: no answer from http://127.0.0.1")
    assert warning.startswith("tracking: warning: no answer from http://127.0.0.1")
    assert "`graft publish` publishes them later" in warning


def break_store(root: Path) -> None:
    write_text("no database " * 100, root / "mlflow.db")


def break_params(root: Path) -> None:
    write_text("ingest: {}\n", root / "params.yaml")


def break_lock(root: Path) -> None:
    write_text("a file where a folder should be", root / "mlartifacts")


def break_report(root: Path) -> None:
    write_text("{", root / "reports/metrics.json")


def delete_experiment(root: Path) -> None:
    from mlflow import MlflowClient

    publish()
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    client.delete_experiment(client.get_experiment_by_name("plates").experiment_id)


@pytest.mark.parametrize("damage", [break_store, break_params, break_lock, break_report, delete_experiment])
def test_nothing_that_is_wrong_with_tracking_breaks_a_build(root, capsys, damage):
    damage(root)
    publish()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: warning: ")


def test_a_new_store_is_whole_or_not_there(root, monkeypatch, capsys):
    (root / "mlflow.db").unlink()
    monkeypatch.setattr(publishing.shutil, "copyfile", lambda *_: 1 / 0)
    publish()
    assert "division by zero" in capsys.readouterr().err
    assert not list(root.glob("*mlflow.db*"))


def test_importing_it_imports_neither_mlflow_nor_torch():
    script = "import sys, stages.graft.tracking.publish; print({'mlflow', 'torch'} & sys.modules.keys())"
    with start(REPOSITORY, script) as process:
        assert process.communicate()[0] == "set()\n"


def test_a_comparison_of_networks_is_a_run_with_a_child_for_each(root, silent):
    table = pd.DataFrame({"network": ["one", "two"], "accuracy": [0.9, 0.5], "could_be_best": [True, False]})
    file = root / "reports/compare_backbones.csv"
    table.to_csv(file)
    publish_comparison(table, [file])
    parent, *children = all_runs(root)
    assert parent.info.run_name == "compare-backbones"
    assert [child.info.run_name for child in children] == ["one", "two"]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert children[1].data.metrics == {"accuracy": 0.5, "could_be_best": 0}
    assert children[1].data.params == {"network": "two"}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert len(list((root / "mlartifacts").rglob("compare_backbones.csv"))) == 1
