import subprocess

import pytest

from stages.graft.artifacts import read_json, write_json
from stages.graft.changes import ABSENT, Change, read_changes
from tests.pictures import write
from tests.reports import NASTY, commit_all, write_reports

PARAMS = "split: {seed: 0}\nhead: {kind: mlp, l2: [1.0, 2.0]}\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "größe 100%"
    write_reports(folder)
    write(folder / "params.yaml", PARAMS.encode())
    return folder


def test_without_git_or_a_commit_there_is_nothing_to_compare_with(root):
    assert read_changes(root) is None
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    assert read_changes(root) is None


def test_a_commit_without_results_is_nothing_to_compare_with(root):
    (root / "reports/metrics.json").rename(root / "elsewhere.json")
    commit_all(root)
    (root / "elsewhere.json").rename(root / "reports/metrics.json")
    assert read_changes(root) is None


def test_nothing_changed(root):
    commit_all(root)
    changes = read_changes(root)
    assert (changes.params, changes.metrics) == ((), ())
    assert (changes.num_shared, changes.same_test, changes.num_gained, changes.num_lost) == (18, True, 0, 0)
    assert changes.p_value == 1
    assert changes.subject == NASTY
    assert len(changes.commit) == 7


def test_parameters_metrics_and_answers_that_changed(root):
    commit_all(root)
    write(root / "params.yaml", b"split: {seed: 1}\nhead: {l2: [1.0, 2.0], wide: true}\n")
    metrics = read_json(root / "reports/metrics.json")
    write_reports(root, wrong=1)
    write_json(
        metrics | {"log_loss": 0.2, "ece": 0.9, "num_test": 7, "accuracy_low": 0.5}, root / "reports/metrics.json"
    )
    changes = read_changes(root)
    found = {one.name: (one.before, one.after) for one in changes.params}
    assert found == {"split.seed": (0, 1), "head.wide": (ABSENT, True), "head.kind": ("mlp", ABSENT)}
    assert [(one.name, one.better) for one in changes.metrics] == [
        ("log_loss", True),
        ("ece", False),
        ("num_test", None),
    ]
    assert (changes.same_test, changes.num_gained, changes.num_lost) == (True, 2, 0)
    assert changes.p_value == 0.5


def test_other_test_images_are_not_compared(root):
    commit_all(root)
    write_reports(root, per_class=8)
    changes = read_changes(root)
    assert (changes.num_shared, changes.same_test) == (18, False)


def test_a_commit_with_conflict_marks_is_no_error(root):
    write(root / "params.yaml", b"<<<<<<< HEAD\nsplit: {seed: [}\n=======\n")
    commit_all(root)
    write(root / "params.yaml", PARAMS.encode())
    assert read_changes(root) is None


@pytest.mark.parametrize(
    ("name", "before", "after", "better"),
    [("accuracy", 0.9, 0.95, True), ("ece", 0.1, 0.2, False), ("coverage", None, 1.0, None), ("num_test", 1, 2, None)],
)
def test_better_is_said_where_it_can_be(name, before, after, better):
    assert Change(name=name, before=before, after=after).better is better
