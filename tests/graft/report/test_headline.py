import pytest

from stages.graft.report.headline import format_details, format_headline, read_comparisons

METRICS = {
    "accuracy": 0.95, "accuracy_low": 0.912, "accuracy_high": 0.975, "num_test": 1200, "balanced_accuracy": 0.94,
    "macro_f1": 0.93, "coverage": 0.8, "selective_accuracy": 0.99, "false_alarms": 0.03, "strangers_found": 0.875,
    "ece": 0.0123, "majority_accuracy": 0.4, "pixels_accuracy": 0.5,
    "num_test_groups": 1100, "num_leaked": 0,
}  # fmt: skip


def test_the_result_comes_with_its_interval():
    assert format_headline(METRICS, 0.95) == (
        "1,140 of 1,200 test images are put in the right class: 95.0%. On images like these, expect between 91.2% and "
        "97.5% (95% interval)."
    )


def test_the_details():
    text = " ".join(format_details(METRICS))
    assert "The best of the baselines, grey pixels without a network, reaches 50.0%." in text
    assert "It answers 80.0% of the test images, 99.0% of them right; the others are left to a person." in text
    assert "3.0% are called unknown though they are not; of images that show none of the classes, 87.5% are." in text
    assert "off by 1.2% on average" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "are 1,100 independent groups, of which the intervals are; none of them has a near-duplicate in train"),
        ({"num_leaked": None}, "near-duplicates were not looked for"),
        (
            {"num_leaked": 9, "accuracy_unleaked": None},
            "9 of the images have a near-duplicate in train or",
        ),
        (
            {"num_leaked": 9, "accuracy_unleaked": 0.5, "accuracy_unleaked_low": 0.4, "accuracy_unleaked_high": 0.6},
            "without them the accuracy is 50.0% (40.0% to 60.0%).",
        ),
        ({"coverage": 1.0}, "sure enough of every test image"),
        ({"coverage": 0.0, "selective_accuracy": None}, "unsure of every test image"),
    ],
)
def test_extremes_have_words_of_their_own(changes, words):
    assert words in " ".join(format_details(METRICS | changes))


def test_fine_tuning_is_compared_where_it_was_measured():
    before_after = {"accuracy_before": 0.9, "accuracy_after": 0.95, "difference_low": 0.01, "difference_high": 0.09}
    val = {f"val_{name}": value for name, value in before_after.items()}
    test = {f"test_{name}": value for name, value in (before_after | {"difference_low": -0.01}).items()}
    assert read_comparisons({"strategy": "none"}, {"model": "frozen"}) == []
    [one] = read_comparisons({"kept": "head-only"} | val, {"model": "frozen"})
    assert (one.split, one.is_significant) == ("validation", True)
    both = read_comparisons(val, test)
    assert [(one.split, one.is_significant) for one in both] == [("validation", True), ("test", False)]
