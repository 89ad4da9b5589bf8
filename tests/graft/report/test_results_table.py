"""The table of results: one block for each set of test images, no state twice, not too wide."""

import subprocess

import pytest

from stages.graft.report.results_table import WIDTH, format_results, list_results
from tests.graft.report.test_past_results import as_experiment, commit, git
from tests.support.commands import graft
from tests.support.pictures import write


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "other images", 1, per_class=20)
    first = commit(tmp_path, "first, with a long subject of several words", 2, seed=1, wrong=5)
    commit(tmp_path, "wide", 3, seed=2, wrong=1)
    as_experiment(tmp_path, "wide-head", first, when=4)
    commit(tmp_path, "second", 5, seed=1, wrong=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_results_stand_with_those_on_the_same_images(root, capsys):
    """Of 18 images 17 are right in the experiment, 16 now and 13 at first; the newest of a block is what it is held
    against."""
    graft("compare")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith("x, 18 test images (set ")
    assert [line.split("%")[0].split()[-1] for line in lines[2:5]] == ["94.4", "88.9", "72.2"]
    assert [line.split()[0] for line in lines[2:4]] == ["wide-head", "now"]
    assert "first, with a long …" in lines[4]
    assert lines[2].endswith("split.seed=2")
    assert lines[5] == ""
    assert lines[6].startswith("x, 60 test images (set ")
    assert "other images" in lines[8]
    assert len(lines) == 9


def test_a_state_is_shown_once(root):
    names = [row.name for row in list_results(root, 10)]
    assert names[:2] == ["now", "wide-head"]
    assert len(names) == 4  # the commit `second` is now
    assert [row.name for row in list_results(root, 0)] == ["now"]


def test_a_long_name_and_many_changes_are_cut(root):
    write(root / "params.yaml", "".join(f"s{k}: {{v: {'x' * 30}}}\n" for k in range(9)).encode())
    subprocess.run(["git", "add", "--all"], check=True)
    commit_all = ["commit", "--quiet", "--message", "word " * 30]
    git(root, *commit_all, when=6)
    write(root / "params.yaml", "".join(f"s{k}: {{v: {k}}}\n" for k in range(9)).encode())
    text = format_results(list_results(root, 10))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" in text


def test_without_results_it_says_what_makes_them(root):
    (root / "reports/metrics.json").unlink()
    with pytest.raises(SystemExit, match=r"reports/metrics.json does not exist: `dvc repro` makes it"):
        graft("compare")
