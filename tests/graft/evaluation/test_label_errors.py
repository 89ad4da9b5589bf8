import numpy as np
import pandas as pd
import pytest

from stages.graft.evaluation.label_errors import (
    find_label_errors,
    format_label_errors,
    judge_labels,
    label_errors_table,
)
from stages.graft.evaluation.linear_probe import cross_validate
from tests.support.features import feature_set, sparse_features


def table_of(images, y, p):
    frame = pd.DataFrame(
        {"id": images.ids, "file": [f"{k}.png" for k in range(len(y))], "label": y.astype(str), "split": "train"}
    )
    return label_errors_table(frame.assign(is_checked=False), y, images.classes, p)


def test_swapped_labels_are_the_most_suspected(rng):
    images = sparse_features(rng, 60)
    swapped = np.sort(rng.choice(len(images.y), 8, replace=False))  # of 240, 3%
    y = images.y.copy()
    y[swapped] = (y[swapped] + 1 + rng.integers(0, 3, 8)) % 4
    table = table_of(
        images,
        y,
        cross_validate(type(images)(ids=images.ids, x=images.x, y=y, classes=images.classes), [""] * len(y), 1.0, 5),
    )
    most = [int(file.removesuffix(".png")) for file in table["file"][:8]]
    assert len(set(most) & set(swapped.tolist())) >= 7
    truth = [f"class {images.y[k]}" for k in most]
    assert np.mean(table["suggested"][:8].to_numpy() == truth) >= 0.8
    assert table["score"].is_monotonic_increasing
    assert table["suspected"][:8].mean() >= 0.6


@pytest.mark.parametrize(("own", "suspected"), [(0.04, True), (0.2, False)])  # above 5%, it may be a weak head's error
def test_by_hand(own, suspected):
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    certain = np.array([[0.9, 0.1]] * 3 + [[own, 1 - own]] + [[0.1, 0.9]] * 3 + [[0.55, 0.45]])
    images = pd.DataFrame({"id": list("hgfedcba"), "file": list("ABCDEFGH"), "label": y, "split": "val"})
    images["is_checked"] = False
    table = label_errors_table(images, y, ("x", "y"), certain)
    # The mean probability of class 0 among its own is 0.7, of class 1 0.7875: D counts as a wrong label, H does not.
    assert table.columns.to_list() == ["id", "file", "label", "suggested", "score", "suspected", "split", "mark"]
    assert table["file"].to_list() == ["D", "H"]
    assert table["suggested"].to_list() == ["y", "x"]
    assert table["score"].to_list() == [own, 0.45]
    assert table["suspected"].to_list() == [suspected, False]


def test_right_labels_are_not_suspected(rng):
    y = np.repeat([0, 1, 2], 20)
    images = pd.DataFrame({"id": [f"{k:02}" for k in range(60)], "file": "f", "label": y, "split": "test"})
    images["is_checked"] = False
    assert label_errors_table(images, y, ("a", "b", "c"), np.eye(3)[y] * 0.7 + 0.1).empty


def test_the_line_counts_the_suspected_labels():
    report = {"num_suspected": 2, "num_checked": 0, "cross_validated_accuracy": 0.9655}
    assert format_label_errors(report) == (
        "2 labels look wrong (reports/label_errors.csv); 96.5% right in cross-validation"
    )
    report = {"num_suspected": 0, "num_checked": 3, "cross_validated_accuracy": 1.0}
    assert format_label_errors(report) == (
        "no label looks wrong besides 3 that a person has checked; 100.0% right in cross-validation"
    )


def test_wrong_labels_are_found_and_a_second_look_finds_no_fewer(rng):
    images = sparse_features(rng, 40)
    is_wrong = np.zeros(len(images.y), dtype=bool)
    is_wrong[::10] = True
    given = np.where(is_wrong, (images.y + 1) % 4, images.y)
    judged = judge_labels(feature_set(images.x, given), [""] * len(given), 5)
    found = [
        is_wrong[np.argsort(p[np.arange(len(given)), given], kind="stable")[: is_wrong.sum()]].mean() for p in judged
    ]
    assert found[1] >= max(0.9, found[0])


def test_a_label_that_a_person_has_checked_is_not_listed_and_no_head_goes_without_it(rng):
    images = sparse_features(rng, 40)
    given = images.y.copy()
    given[::10] = (given[::10] + 1) % 4
    is_checked = np.zeros(len(given), dtype=bool)
    is_checked[:80:10] = True  # the person says that the label is right
    frame = pd.DataFrame({"id": images.ids, "file": images.ids, "label": given.astype(str), "split": "train"})
    frame = frame.assign(group="", is_checked=is_checked)
    _, found = find_label_errors(feature_set(images.x, given), frame, 5)
    assert set(frame["id"][is_checked]).isdisjoint(found["id"])
    assert len(set(frame["id"][90::10]) & set(found["id"])) >= 7
    trusted = judge_labels(feature_set(images.x, given), [""] * len(given), 5, np.ones(len(given), dtype=bool))
    assert np.array_equal(*trusted)  # no label is left out the second time


def test_a_class_whose_labels_are_all_suspected_keeps_its_images():
    x = np.concatenate([np.zeros((20, 3)), np.zeros((4, 3)), np.ones((20, 3))]) + np.arange(44)[:, None] * 1e-3
    images = feature_set(x, [0] * 20 + [1] * 4 + [2] * 20)
    assert np.isfinite(judge_labels(images, [""] * 44, 2)[1]).all()
