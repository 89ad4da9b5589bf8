"""Two models on the same images, by hand."""

import pytest

from stages.graft.metrics.answer_changes import Prediction, compare_answers, parse_predictions


def answers(right: str, groups: str = "", first: int = 0):
    """A character an image: `+` right, `-` wrong; and the letter of its group, if it is in one."""
    return {
        f"{first + k:03}": Prediction(label="dent", predicted="dent" if sign == "+" else "hole", group=group.strip())
        for k, (sign, group) in enumerate(zip(right, groups or " " * len(right), strict=True))
    }


def test_what_became_right_and_wrong():
    found = compare_answers(answers("++--+"), answers("+-+++"))
    assert (found.gained, found.lost) == (("002", "003"), ("001",))
    assert (found.accuracy_before, found.accuracy) == (0.6, 0.8)
    assert found.p_value == 1  # of three that changed: 2 (1 + 3) / 2^3
    assert found.same_test
    assert found.may_be_chance


def test_a_group_counts_once_and_by_what_remains():
    """Seven images gained: two groups of three, and one of a group that also lost one."""
    found = compare_answers(answers("-------+", "aaabbbcc"), answers("+++++++-", "aaabbbcc"))
    assert (len(found.gained), len(found.lost)) == (7, 1)
    assert (found.groups_gained, found.groups_lost) == (2, 0)
    assert found.p_value == 0.5  # 2 / 2^2


@pytest.mark.parametrize(
    ("before", "now", "first", "same_data"),
    [
        ("+" * 10, "+" * 10, 0, True),
        ("+" * 10, "+" * 10, 5, True),
        ("+" * 10, "+" * 10, 6, False),
        ("+" * 4, "+" * 9, 0, False),
    ],
)
def test_half_of_the_images_must_be_the_same(before, now, first, same_data):
    found = compare_answers(answers(before), answers(now, first=first))
    assert found.same_data is same_data
    assert found.same_test is (first == 0 and len(before) == len(now))


def test_nothing_is_no_data():
    assert not compare_answers({}, {}).same_data
    assert not compare_answers({}, answers("+")).same_data


def test_a_table_is_read_by_its_columns():
    lines = ["confidence,predicted,label,id,file\n", '0.5,"a, b",ü,x1,s/1.png\n']
    assert parse_predictions(lines) == {"x1": Prediction(label="ü", predicted="a, b", file="s/1.png")}
    assert parse_predictions(["id,label\n", "x1,a\n"]) == {}
    assert parse_predictions([]) == {}
