import pytest

from stages.graft.report.headline import format_details, read_comparisons

METRICS = {
    "accuracy": 0.95, "accuracy_low": 0.912, "accuracy_high": 0.975, "num_test": 1200, "balanced_accuracy": 0.94,
    "macro_f1": 0.93, "coverage": 0.8, "selective_accuracy": 0.99, "false_alarms": 0.03, "false_alarms_low": 0.02,
    "false_alarms_high": 0.041, "num_known_groups": 19, "unseen_found": 0.875, "unseen_auroc": 0.9,
    "ece": 0.0123, "majority_accuracy": 0.4, "pixels_accuracy": 0.5,
    "num_test_groups": 1100, "num_leaked": 0,
}  # fmt: skip


def test_the_details():
    text = " ".join(format_details(METRICS, 0.05))
    assert "Balanced accuracy is 94.0%, macro-F1 93.0%." in text
    assert "3.0% of the test images are called unknown though they are not (2.0% to 4.1%; 5.0% was asked for)" in text
    assert "of the images of a class that was held out, 87.5% are." in text
    assert "off by 1.2% on average" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unseen_auroc": None, "unseen_found": None}, "with two classes, none can be held out"),
        ({"unseen_found": None}, "too few images to measure it on that class"),
        ({"num_known_groups": 18}, "18 independent images are too few to promise that only 5.0%"),
    ],
)
def test_extremes_have_words_of_their_own(changes, words):
    assert words in " ".join(format_details(METRICS | changes, 0.05))


def test_fine_tuning_is_compared_where_it_was_measured():
    before_after = {"accuracy_before": 0.9, "accuracy_after": 0.95, "difference_low": 0.01, "difference_high": 0.09}
    val = {f"val_{name}": value for name, value in before_after.items()}
    test = {f"test_{name}": value for name, value in (before_after | {"difference_low": -0.01}).items()}
    assert read_comparisons({"strategy": "none"}, {"model": "frozen"}) == []
    [one] = read_comparisons({"kept": "head-only"} | val, {"model": "frozen"})
    assert (one.split, one.is_significant) == ("validation", True)
    both = read_comparisons(val, test)
    assert [(one.split, one.is_significant) for one in both] == [("validation", True), ("test", False)]
