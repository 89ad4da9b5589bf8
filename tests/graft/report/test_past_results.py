"""Earlier results in a real repository: commits and DVC's experiments, and which is the last on these images."""

import os
import subprocess

import pytest

from stages.graft.report.past_results import find_last, list_revisions, read_past, read_present
from tests.support.clones import IDENTITY
from tests.support.pictures import write
from tests.support.reports import write_reports


def git(root, *arguments, when=0):
    date = {f"GIT_{who}_DATE": f"{1_700_000_000 + when} +0000" for who in ("AUTHOR", "COMMITTER")}
    command = ["git", *IDENTITY, *arguments]
    return (
        subprocess.run(command, cwd=root, check=True, capture_output=True, env=os.environ | date)
        .stdout.decode()
        .strip()
    )


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git(tmp_path, "init", "--quiet")
    return tmp_path


def commit(root, subject, when, seed=0, **results):
    """Write results with a parameter, and commit them."""
    write_reports(root, **results)
    write(root / "params.yaml", f"ingest: {{source: x}}\nsplit: {{seed: {seed}}}\n".encode())
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", subject, when=when)
    return git(root, "rev-parse", "HEAD")


def as_experiment(root, name, baseline, when):
    """Keep the present files as an experiment of DVC, and go back."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "dvc: commit experiment", when=when)
    git(root, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", "HEAD")
    git(root, "update-ref", "refs/exps/exec/EXEC_BASELINE", "HEAD")  # DVC's own notes are no experiments
    git(root, "reset", "--quiet", "--hard", baseline)


def test_commits_with_other_results_and_experiments_the_newest_first(root):
    first = commit(root, "first", 1)
    write(root / "notes.txt", b"words")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "no results", when=2)
    write_reports(root, wrong=1)
    as_experiment(root, "wide", git(root, "rev-parse", "HEAD"), when=3)
    assert [revision.title for revision in list_revisions(root)] == ["experiment wide", f"commit {first[:7]} first"]
    assert list_revisions(root, 0) == []


def test_the_last_result_that_is_not_that_of_now(root):
    commit(root, "first", 1, wrong=5)
    second = commit(root, "second", 2, wrong=4)
    now = read_present(root)
    assert find_last(root, now)[0].name.endswith("first")  # the second is now
    write_reports(root, wrong=2)
    now = read_present(root)
    assert find_last(root, now)[0].name.endswith("second")
    as_experiment(root, "better", second, when=3)
    write_reports(root, wrong=2)
    write(root / "params.yaml", b"ingest: {source: x}\nsplit: {seed: 1}\n")  # another setting, the same answers
    revision, past, answers = find_last(root, read_present(root))
    assert (revision.title, past.params["split.seed"], answers.gained) == ("experiment better", 0, ())


def test_results_on_other_images_are_passed_over(root):
    commit(root, "steel", 1, per_class=20)
    commit(root, "clothes", 2, per_class=5)
    write_reports(root, per_class=20, wrong=9)
    revision, _, answers = find_last(root, read_present(root))
    assert revision.name.endswith("steel")
    assert answers.same_test
    write_reports(root, per_class=60)
    assert find_last(root, read_present(root)) is None


def test_what_cannot_be_read_is_no_result(root):
    write(root / "params.yaml", b"<<<<<<< HEAD\nsplit: {seed: [}\n")
    write(root / "reports/metrics.json", b"{}")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "conflict", when=1)
    assert read_past(root, "HEAD") is None
    assert read_past(root, "nowhere") is None
