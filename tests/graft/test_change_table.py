import dataclasses

import pytest

from stages.graft.change_table import as_markdown, as_text, change_rows, gate_in_words, images_in_words, plain
from stages.graft.changes import ABSENT, Change, Changes

ACCURACY = Change(name="accuracy", before=0.9, after=0.95, before_interval=(0.83, 0.945), after_interval=(0.9, 0.98))
PASSED = {
    "passed": True, "reasons": [], "min_accuracy": 0.9, "accuracy_low": 0.95, "min_recall": 0.8, "lowest_recall": 0.875,
}  # fmt: skip
REFUSED = PASSED | {"passed": False, "reasons": ["Accuracy may be low.", "So may recall."]}


@pytest.fixture
def changes() -> Changes:
    return Changes(
        commit="1234567",
        subject="A | first",
        params=(Change(name="split.seed", before=0, after=1), Change(name="head.wide", before=ABSENT, after=True)),
        metrics=(ACCURACY, Change(name="num_test", before=100.0, after=120)),
        num_shared=100,
        same_test=True,
        num_gained=6,
        num_lost=1,
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


def test_on_other_test_images_nothing_is_better(changes):
    other = dataclasses.replace(changes, same_test=False)
    assert change_rows(other)[2][3] == "intervals overlap"
    assert images_in_words(other).startswith("100 test images were scored both times: 6 are right only now")


def test_markdown_is_a_table_that_no_name_can_break(changes):
    lines = as_markdown(changes).splitlines()
    assert lines[0] == "### Results against 1234567, A &#124; first"
    assert {line.count("|") for line in lines if line.startswith("|")} == {5}
    assert "| accuracy | 0.9 &#91;0.83, 0.945&#93; | 0.95 &#91;0.9, 0.98&#93; | better, intervals overlap |" in lines
    assert plain("@all `x` <img> [a](b) *c*\n") == (
        "&#64;all &#96;x&#96; &#60;img&#62; &#91;a&#93;(b) &#42;c&#42;&#10;"
    )


def test_text_stands_in_columns(changes):
    lines = as_text(changes).splitlines()
    assert lines[0] == "against 1234567, A | first"
    assert lines[2].index("now") == lines[5].index("0.95 [0.9, 0.98]")
    # 7 changed sides, 1 of them for the worse: 2 (1 + 7) / 2^7
    assert lines[-1].endswith("6 are right only now, 1 only then (McNemar p = 0.12: chance alone does that easily).")


def test_nothing_changed(changes):
    same = dataclasses.replace(changes, params=(), metrics=(), num_gained=0, num_lost=0)
    assert "No parameter and no metric changed." in as_markdown(same)
    assert "none went from wrong to right or back" in as_text(same)
    assert images_in_words(dataclasses.replace(same, num_shared=0)) == "No test image was scored both times."


def test_the_gates_verdict_and_whether_it_turned():
    assert gate_in_words(PASSED, PASSED) == (
        "The gate holds: the lower end of the accuracy's interval is 95.0% (90.0% asked), "
        "the lowest recall of a class is 87.5% (80.0% asked)."
    )
    assert gate_in_words(PASSED, REFUSED).endswith("Then it refused.")
    assert gate_in_words(REFUSED, PASSED) == (
        "The gate refuses this model. Accuracy may be low. So may recall. Then it held."
    )
    assert gate_in_words(PASSED | {"min_accuracy": None, "min_recall": None}, None) == "The gate asks for nothing."
