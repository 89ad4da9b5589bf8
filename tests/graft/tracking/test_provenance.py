"""Tags from a real git repository, and the names runs get."""

import subprocess
from pathlib import Path

import pytest

from stages.graft.storage.files import write_json, write_text
from stages.graft.tracking.provenance import DVC_VARIABLES, read_provenance, run_name

KEY = "0123456789abcdef"


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(
        ["git", *identity, *arguments], cwd=root, text=True, stderr=subprocess.DEVNULL
    ).strip()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*DVC_VARIABLES, "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "größe und so"
    write_text("seed: 1\n", folder / "params.yaml")
    return folder


@pytest.fixture
def repository(root: Path) -> Path:
    git(root, "init", "-b", "main")
    write_text("{}\n", root / "reports/metrics.json")
    write_text("schema: '2.0'\n", root / "dvc.lock")
    git(root, "add", ".")
    git(root, "commit", "-m", "x")
    return root


def test_a_clean_commit(repository):
    tags, commit = read_provenance(repository), git(repository, "rev-parse", "HEAD")
    assert (tags["git.commit"], tags["git.branch"], tags["git.dirty"]) == (commit, "main", "false")
    assert tags["mlflow.source.git.commit"] == commit
    assert len(tags["md5.dvc_lock"]) == 32
    assert run_name(tags, KEY) == f"main-{commit[:7]}"


def test_a_changed_parameter_is_dirty_but_the_pipelines_outputs_are_not(repository):
    write_text("new\n", repository / "reports/metrics.json")
    write_text("new\n", repository / "dvc.lock")
    write_text("new\n", repository / "untracked.txt")
    assert read_provenance(repository)["git.dirty"] == "false"
    write_text("seed: 2\n", repository / "params.yaml")
    assert run_name(read_provenance(repository), KEY).endswith("-dirty")


def test_a_detached_head_has_no_branch(repository):
    git(repository, "checkout", "--detach")
    tags = read_provenance(repository)
    assert "git.branch" not in tags
    assert run_name(tags, KEY) == tags["git.commit"][:7]


def test_a_dvc_experiment_names_the_run(repository, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-cats")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc")
    tags = read_provenance(repository)
    assert (tags["DVC_EXP_BASELINE_REV"], run_name(tags, KEY)) == ("abc", "puffy-cats")


@pytest.mark.parametrize("with_git", [False, True])
def test_without_git_or_commit_the_state_names_the_run(root, with_git):
    if with_git:
        git(root, "init")
    tags = read_provenance(root)
    assert "git.commit" not in tags
    assert run_name(tags, KEY) == "state-01234567"


def test_weights_come_from_the_models_record(root):
    assert "sha256.weights" not in read_provenance(root)
    record = {"head": {"sha256": "no"}, "backbone": {"name": "resnet18", "sha256": "f00d"}}
    write_json(record, root / "data/model/model.json")
    assert read_provenance(root)["sha256.weights"] == "f00d"
    write_json({"backbone": {"sha256": None}}, root / "data/model/model.json")
    assert "sha256.weights" not in read_provenance(root)


def test_versions_are_read_without_importing(root):
    assert read_provenance(root)["version.torch"][0].isdigit()
