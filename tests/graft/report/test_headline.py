from stages.graft.report.headline import format_details, read_comparisons

METRICS = {
    "accuracy": 0.95, "accuracy_low": 0.912, "accuracy_high": 0.975, "num_test": 1200, "balanced_accuracy": 0.94,
    "macro_f1": 0.93, "coverage": 0.8, "selective_accuracy": 0.99, "false_alarms": 0.03, "strangers_found": 0.875,
    "ece": 0.0123, "majority_accuracy": 0.4, "pixels_accuracy": 0.5,
    "num_test_groups": 1100, "num_leaked": 0,
}  # fmt: skip


def test_the_details():
    text = " ".join(format_details(METRICS))
    assert "Balanced accuracy is 94.0%, macro-F1 93.0%." in text
    assert "3.0% are called unknown though they are not; of images that show none of the classes, 87.5% are." in text
    assert "off by 1.2% on average" in text


def test_fine_tuning_is_compared_where_it_was_measured():
    before_after = {"accuracy_before": 0.9, "accuracy_after": 0.95, "difference_low": 0.01, "difference_high": 0.09}
    val = {f"val_{name}": value for name, value in before_after.items()}
    test = {f"test_{name}": value for name, value in (before_after | {"difference_low": -0.01}).items()}
    assert read_comparisons({"strategy": "none"}, {"model": "frozen"}) == []
    [one] = read_comparisons({"kept": "head-only"} | val, {"model": "frozen"})
    assert (one.split, one.is_significant) == ("validation", True)
    both = read_comparisons(val, test)
    assert [(one.split, one.is_significant) for one in both] == [("validation", True), ("test", False)]
