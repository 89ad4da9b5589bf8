import dataclasses
import html
import re
import subprocess

import pytest

from stages.graft.core.markdown import escape_markdown
from stages.graft.metrics.answer_changes import AnswerChanges
from stages.graft.report.changes import (
    ABSENT,
    Change,
    Changes,
    change_rows,
    format_answers,
    format_markdown,
    format_text,
    read_changes,
)
from stages.graft.storage.files import read_json, write_json
from tests.support.pictures import write
from tests.support.reports import NASTY, commit_all, write_reports

ANSWERS = AnswerChanges(
    num_now=100, num_before=100, num_shared=100, num_right=95, gained=tuple("abcdef"), lost=("g",), groups_gained=6,
    groups_lost=1,
)  # fmt: skip
ACCURACY = Change(name="accuracy", before=0.9, after=0.95, before_interval=(0.83, 0.945), after_interval=(0.9, 0.98))


@pytest.fixture
def changes() -> Changes:
    return Changes(
        title="commit 1234567 A | first",
        params=(Change(name="split.seed", before=0, after=1), Change(name="head.wide", before=ABSENT, after=True)),
        metrics=(ACCURACY, Change(name="num_test", before=100.0, after=120)),
        answers=ANSWERS,
    )


def test_a_row_for_each_change(changes):
    assert change_rows(changes) == [
        ("split.seed", "0", "1", ""),
        ("head.wide", "(not there)", "True", ""),
        ("accuracy", "0.9 [0.83, 0.945]", "0.95 [0.9, 0.98]", "better, intervals overlap"),
        ("num_test", "100", "120", ""),
    ]


def test_intervals_apart_and_the_direction(changes):
    worse = dataclasses.replace(ACCURACY, after=0.5, after_interval=(0.4, 0.82))
    assert change_rows(dataclasses.replace(changes, metrics=(worse,)))[-1][3] == "worse, intervals apart"


def test_markdown_is_a_table_that_no_name_can_break(changes):
    lines = format_markdown(changes).splitlines()
    assert lines[0] == "### Results against commit 1234567 A &#124; first"
    assert {line.count("|") for line in lines if line.startswith("|")} == {5}
    assert "| accuracy | 0.9 &#91;0.83, 0.945&#93; | 0.95 &#91;0.9, 0.98&#93; | better, intervals overlap |" in lines
    assert escape_markdown("@all `x` <img> [a](b) *c*\n") == (
        "&#64;all &#96;x&#96; &#60;img&#62; &#91;a&#93;(b) &#42;c&#42;&#10;"
    )


def test_text_stands_in_columns(changes):
    lines = format_text(changes).splitlines()
    assert lines[0] == "against commit 1234567 A | first"
    assert lines[2].index("now") == lines[5].index("0.95 [0.9, 0.98]")
    # 7 changed sides, 1 of them for the worse: 2 (1 + 7) / 2^7
    assert lines[-1] == (
        "On the same 100 test images, accuracy went from 90.0% to 95.0%: 6 right only now, 1 only then "
        "(McNemar p = 0.12: chance alone does that easily)."
    )


def test_only_shared_images_are_compared(changes):
    some = dataclasses.replace(ANSWERS, num_now=110, num_before=120)
    assert format_answers(some).startswith("On the 100 test images that both were tested on, accuracy went from")
    few = dataclasses.replace(ANSWERS, num_now=300)
    assert format_answers(few) == (
        "It was tested on other images (100 of its 100 are among the 300 of now): the results are not compared."
    )


def test_nothing_changed_is_said(changes):
    same = dataclasses.replace(ANSWERS, gained=(), lost=())
    assert "No parameter and no metric changed." in format_markdown(
        dataclasses.replace(changes, params=(), metrics=(), answers=same)
    )
    assert format_answers(same) == "On the same 100 test images, none went from wrong to right or back."


PARAMS = "split: {seed: 0}\nhead: {kind: mlp, l2: [1.0, 2.0]}\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "größe 100%"
    write_reports(folder)
    write(folder / "params.yaml", PARAMS.encode())
    return folder


def test_without_git_or_a_commit_there_is_nothing_to_compare_with(root):
    for against in (None, "HEAD"):
        assert read_changes(root, against) is None
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    for against in (None, "HEAD"):
        assert read_changes(root, against) is None


def test_a_commit_without_results_is_nothing_to_compare_with(root):
    (root / "reports/metrics.json").rename(root / "elsewhere.json")
    commit_all(root)
    (root / "elsewhere.json").rename(root / "reports/metrics.json")
    assert read_changes(root, "HEAD") is None
    assert read_changes(root) is None


def test_nothing_changed(root):
    commit_all(root)
    changes = read_changes(root, "HEAD")
    assert (changes.params, changes.metrics) == ((), ())
    assert (changes.answers.same_test, changes.answers.gained, changes.answers.lost) == (True, (), ())
    assert changes.title.endswith(NASTY)
    assert read_changes(root) is None  # the last result is that of now


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
    assert (changes.answers.same_test, len(changes.answers.gained), changes.answers.lost) == (True, 2, ())
    assert changes.answers.p_value == 0.5
    assert read_changes(root, "HEAD") == changes


def test_on_other_test_images_no_metric_is_compared(root):
    commit_all(root)
    write_reports(root, per_class=20)
    changes = read_changes(root, "HEAD")
    assert (changes.answers.num_shared, changes.answers.same_data, changes.metrics) == (18, False, ())
    assert read_changes(root) is None


def test_a_commit_with_conflict_marks_is_no_error(root):
    write(root / "params.yaml", b"<<<<<<< HEAD\nsplit: {seed: [}\n=======\n")
    commit_all(root)
    write(root / "params.yaml", PARAMS.encode())
    assert read_changes(root, "HEAD") is None


@pytest.mark.parametrize(
    ("name", "before", "after", "better"),
    [("accuracy", 0.9, 0.95, True), ("ece", 0.1, 0.2, False), ("coverage", None, 1.0, None), ("num_test", 1, 2, None)],
)
def test_better_is_said_where_it_can_be(name, before, after, better):
    assert Change(name=name, before=before, after=after).better is better


@pytest.mark.parametrize("name", ["see https://evil.example/a", "http://x", "www.evil.example", "WWW.x.example"])
def test_an_address_in_a_name_is_no_link(name):
    """Pages that show Markdown make links of bare addresses."""
    shown = html.unescape(escape_markdown(name))
    assert not re.search(r"(?i)\w://|\bwww\.", shown)
    assert shown.replace("\u200b", "") == name
