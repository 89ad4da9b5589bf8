"""The registry on real stores: which models become a version, challenger and champion; what a logged model holds."""

import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import yaml

from stages.graft.storage.files import read_json, write_json, write_text
from stages.graft.tracking.champion import read_champion
from stages.graft.tracking.publish import publish
from stages.graft.tracking.registry import BUNDLE_TAG, DECISION, REGISTERED
from tests.conftest import REPOSITORY


def write_project(
    root: Path, seed: int, right: str, *, reasons: tuple[str, ...] = (), name: str | None = "plates", first: int = 0
) -> Path:
    """A pipeline's results: its state, its bundle and, of each test image, whether it was found (`+`) or not (`-`)."""
    write_text(
        yaml.safe_dump(
            {
                "ingest": {"source": f"/data/{first}/steel.zip"},
                "split": {"seed": seed},
                "tracking": {"experiment": "x", "model_name": name},
            }
        ),
        root / "params.yaml",
    )
    ids = [f"{first + k:064x}" for k in range(20)]
    write_text("id,file,label\n" + "".join(f"{id_},a.png,dent\n" for id_ in ids), root / "data/manifest.csv")
    write_text("stages: {evaluate: {outs: [reports/gate.json, reports/metrics.json]}}", root / "dvc.yaml")
    write_json({"accuracy": 0.9}, root / "reports/metrics.json")
    write_json({"passed": not reasons, "reasons": reasons}, root / "reports/gate.json")
    found = zip(ids, right, strict=False)
    answers = "".join(f"{id_},secret.png,dent,{'dent' if mark == '+' else 'hole'},0.5\n" for id_, mark in found)
    write_text(f"id,file,label,predicted,confidence\n{answers}", root / "reports/predictions.csv")
    record = {"runtime": {"runtime": "openvino 1"}, "backbone": {"name": "tiny"}, "sha256": {"head": f"{seed}"}}
    write_json(record, root / "data/bundle/bundle.json")
    write_json({"classes": ["dent", "hole"]}, root / "data/bundle/model.json")
    shutil.copyfile(REPOSITORY / "requirements.lock", root / "requirements.lock")
    return root


@pytest.fixture
def root(tmp_path, monkeypatch, empty_store) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = write_project(tmp_path / "größe 100% so", 0, "+++++++++-")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def lines(capsys):
    """Publish, and give what was printed beside the run's own line; nothing may go wrong."""

    def run() -> list[str]:
        publish()
        done = capsys.readouterr()
        assert done.err == ""
        return [line.removeprefix("tracking: ") for line in done.out.splitlines()[1:]]

    return run


def client_of(uri: str):
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MlflowClient(uri)


@pytest.fixture
def client(root):
    return client_of(f"sqlite:///{root}/mlflow.db")


def aliases(client) -> dict[str, str]:
    [model] = client.search_registered_models()
    return {alias: str(version) for alias, version in model.aliases.items()}


def run_tags(client) -> list[str]:
    """What the experiment's runs say of their models, the earliest first."""
    found = client.search_runs(
        [client.get_experiment_by_name("x").experiment_id], order_by=["attributes.start_time ASC"]
    )
    return [run.data.tags.get(REGISTERED, "") for run in found]


def dump(root: Path) -> tuple[list[str], dict[Path, int]]:
    """All that a store holds, with the times of its files."""
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return list(database.iterdump()), {p: p.stat().st_mtime_ns for p in (root / "mlartifacts").rglob("*")}


def test_the_first_to_pass_is_the_champion_and_publishing_again_changes_nothing(root, lines, client):
    assert lines() == ["version 1 of plates is the new champion: there was none"]
    assert aliases(client) == {"champion": "1", "challenger": "1"}
    [version] = client.search_model_versions("name = 'plates'")
    assert version.tags[DECISION] == run_tags(client)[0] == "version 1 of plates is the new champion: there was none"
    assert len(version.tags[BUNDLE_TAG]) == 64
    [output] = client.get_run(version.run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.status, logged.artifact_location) == ("READY", version.source)
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "plates", "version": version.version}]
    before = dump(root)
    assert lines() == ["version 1 of plates is registered already"]
    assert dump(root) == before


def test_a_logged_model_holds_all_it_needs_and_no_more(root, lines, client):
    lines()
    [version] = client.search_model_versions("name = 'plates'")
    folder = Path(url2pathname(urlsplit(version.source).path))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "MLmodel",
        "data/bundle/bundle.json",
        "data/bundle/model.json",
        "code/stages/graft/model/serving.py",
    } <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pyc"))]
    assert "secret" not in (folder / "predictions.csv").read_text()
    assert (folder / "predictions.csv").read_text().splitlines()[:2] == ["id,label,predicted", f"{0:064x},dent,dent"]
    record = yaml.safe_load((folder / "MLmodel").read_text())
    assert record["run_id"] == version.run_id
    assert version.source.endswith(f"models/{record['model_id']}/artifacts")
    assert record["flavors"]["python_function"]["config"] == {"read_paths": False}
    assert not any(name.endswith(("tracking.py", "registry.py", "finetuning.py")) for name in files)


def test_a_refusal_of_the_gate_registers_nothing_and_says_why(root, lines, client):
    write_project(root, 0, "+-", reasons=("Accuracy is low.", "The recall of `hole` is 0.0%."))
    refusal = "not registered. Accuracy is low. The recall of `hole` is 0.0%."
    assert lines() == [refusal]
    assert run_tags(client) == [refusal]
    assert not client.search_registered_models()
    before = dump(root)
    assert lines() == [refusal]
    assert dump(root) == before


def test_a_better_model_is_promoted_and_a_worse_one_is_not(root, lines, client):
    lines()
    write_project(root, 1, "++++++++++")
    [line] = lines()
    assert line.startswith("version 2 of plates is the new champion: no worse than the champion on the same 10 test")
    assert aliases(client) == {"champion": "2", "challenger": "2"}
    write_project(root, 2, "+++++++---")
    [stays] = lines()
    assert stays == (
        "version 3 of plates is a challenger, version 2 stays champion: worse than the champion on the same 10 test "
        "images: 70.0% against the champion's 100.0% (0 images gained, 3 lost, McNemar p = 0.25)"
    )
    assert aliases(client) == {"champion": "2", "challenger": "3"}
    assert run_tags(client)[2] == client.get_model_version("plates", "3").tags[DECISION] == stays
    write_project(root, 3, "+++")
    assert "the champion was tested on other images (3 now, 10 then, 3 of them the same)" in lines()[0]
    assert aliases(client) == {"champion": "2", "challenger": "4"}


def test_what_happened_since_is_not_taken_back(root, lines, client):
    lines()
    write_project(root, 1, "++++++++++")
    lines()
    client.set_registered_model_alias("plates", "champion", "1")  # a person's choice
    before = dump(root)
    assert lines() == ["version 2 of plates is registered already"]
    write_project(root, 0, "+++++++++-")
    assert lines() == ["version 1 of plates is registered already"]
    assert dump(root) == before


def test_the_same_files_are_one_version_whatever_the_parameters(root, lines, client):
    lines()
    bundle = (root / "data/bundle/bundle.json").read_bytes()
    write_project(root, 1, "+++++++++-")
    (root / "data/bundle/bundle.json").write_bytes(bundle)
    assert lines() == ["version 1 of plates is registered already"]
    assert len(client.search_model_versions("name = 'plates'")) == 1
    assert run_tags(client) == ["version 1 of plates is the new champion: there was none"] * 2


def test_a_champion_without_predictions_stays(root, lines, client):
    client.create_registered_model("plates")
    client.create_model_version("plates", (root / "data").as_uri())
    client.set_registered_model_alias("plates", "champion", "1")
    assert "version 1 stays champion: the champion's predictions are not on record" in lines()[0]
    assert aliases(client) == {"champion": "1", "challenger": "2"}


def test_nothing_is_registered_without_a_gate(root, lines, client):
    (root / "reports/gate.json").unlink()
    assert lines() == []
    assert run_tags(client) == [""]
    assert not client.search_registered_models()


def test_each_source_has_a_champion_of_its_own(root, lines, client):
    """Without a name, the source gives it; another source of that name gets a hash, the same data split anew do not."""
    write_project(root, 0, "+" * 9, name=None)
    assert lines() == ["version 1 of steel is the new champion: there was none"]
    write_project(root, 1, "+" * 5, name=None, first=100)
    name = f"steel-{hashlib.sha256(b'/data/100/steel.zip').hexdigest()[:6]}"
    assert lines() == [f"version 1 of {name} is the new champion: there was none"]
    assert lines() == [f"version 1 of {name} is registered already"]
    write_project(root, 2, "+" * 12, name=None)
    write_text(
        (root / "reports/predictions.csv").read_text().replace("0" * 60, "f" * 60), root / "reports/predictions.csv"
    )
    assert (
        "version 2 of steel is a challenger, version 1 stays champion: the champion was tested on other" in lines()[0]
    )
    assert len(client.search_registered_models()) == 2


def test_the_page_is_held_against_the_champion_of_that_time(root, lines, client):
    assert read_champion(root) is None
    lines()
    assert read_champion(root) is None  # it is the champion, and there was none before
    write_project(root, 1, "++++++++++")
    before = read_champion(root)
    assert (before.title, len(before.predictions)) == ("the champion, version 1 of plates", 10)
    lines()
    assert read_champion(root) == before  # now it is the champion itself: the page stays the same


def test_without_a_store_there_is_no_champion(root, capsys):
    (root / "mlflow.db").write_bytes(b"no database at all")
    assert read_champion(root) is None
    assert "the page shows no comparison with the champion" in capsys.readouterr().err
    (root / "mlflow.db").unlink()
    assert read_champion(root) is None
    assert not (root / "mlflow.db").exists()


@pytest.mark.parametrize(
    "step",
    [
        "create_logged_model",
        "log_model_artifacts",
        "create_model_version",
        "set_registered_model_alias",
        "set_model_version_tag",
    ],
)
def test_a_failing_store_breaks_nothing_and_is_completed_later(root, lines, client, monkeypatch, capsys, step):
    from mlflow import MlflowClient

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, lambda *_, **__: 1 / 0)
        publish()
    [line] = capsys.readouterr().err.splitlines()
    assert line == "tracking: warning: division by zero; the results are safe, `graft publish` publishes them later"
    [run] = client.search_runs([client.get_experiment_by_name("x").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy"] == 0.9
    assert lines() == ["version 1 of plates is the new champion: there was none"]
    assert aliases(client) == {"champion": "1", "challenger": "1"}
    assert len(client.search_model_versions("name = 'plates'")) == 1


def test_what_is_missing_is_named_in_one_line(root, capsys):
    (root / "requirements.lock").unlink()
    publish()
    [line] = capsys.readouterr().err.splitlines()
    assert "requirements.lock is missing: no model can be registered without its libraries' versions" in line


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """MLflow's own server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    variables = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=folder, env=variables, start_new_session=True, **quiet)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.rare
def test_on_a_server_all_is_the_same(root, empty_store, tmp_path, lines, monkeypatch):
    """And nothing is written beside the pipeline."""
    (tmp_path / "server").mkdir()
    shutil.copyfile(empty_store, tmp_path / "server/mlflow.db")
    (root / "mlflow.db").unlink()
    with tracking_server(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert lines() == ["version 1 of plates is the new champion: there was none"]
        write_project(root, 1, "++++++++--")
        assert "version 2 of plates is the new champion: no worse" in lines()[0]
        write_project(root, 2, "++++++----")
        assert "version 2 stays champion: worse than the champion on the same 10 test images" in lines()[0]
        assert lines() == ["version 3 of plates is registered already"]
        assert aliases(client_of(uri)) == {"champion": "2", "challenger": "3"}
    assert not list(root.glob("ml*"))
    assert read_json(root / "reports/gate.json")["passed"]
