import numpy as np
import pytest

from stages.graft.evaluation.results import metrics_record
from stages.graft.evaluation.terminal_summary import format_summary
from stages.graft.metrics.selective import Threshold
from stages.graft.model.decision import DecisionRule
from stages.graft.model.novelty import NoveltyDetector
from tests.graft.evaluation.test_results import CLASSES, evaluation


def shown(scored, temperature=1.0, confidence=0.0, reached=True):
    """The summary of scored images under a rule."""
    rule = DecisionRule(
        classes=CLASSES,
        temperature=temperature,
        target_accuracy=0.99,
        threshold=Threshold(confidence=confidence, coverage=0.5, accuracy=0.9, reached=reached),
        false_alarm_rate=0.05,
        unknown_above=1.5,
        detector=NoveltyDetector(projection=np.eye(1, dtype=np.float32), centres=np.eye(1, dtype=np.float32)),
    )
    strange = {"novelty_auroc": 0.987, "strangers_found": 0.75}
    return format_summary(scored, metrics_record(scored) | strange, rule)


@pytest.fixture
def six():
    """Six images, four of them right: a hole taken for an inclusion and a scratch for an inclusion."""
    sure, missed = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    labels = ["hole", "hole", "hole", "inclusion", "inclusion", "scratch"]
    return evaluation(labels, [sure, sure, missed, missed, missed, missed])


def test_the_summary_fits_a_screen_and_says_what_is_wrong(six):
    lines = shown(six).splitlines()
    assert lines[0] == "6 test images, accuracy 66.7% (95% interval 30.0% to 90.3%)"
    assert lines[6].split() == ["scratch", "0.0%", "0.0%", "0.0%", "1"]  # the weakest first
    assert lines[-2:] == ["       1 hole taken for inclusion", "       1 scratch taken for inclusion"]
    assert max(map(len, lines)) <= 120


def test_the_summary_of_many_classes_with_long_names_is_short():
    classes = tuple(f"{'very ' * 20}long {k:02}" for k in range(30))
    probabilities = np.full((30, 30), 0.01) + np.roll(np.eye(30), 1, axis=1) * 0.7
    every = evaluation(list(classes), probabilities, classes)
    text = shown(every)
    assert "weakest 5 of 30 classes" in text
    assert len(text.splitlines()) == 17
    assert max(map(len, text.splitlines())) <= 120


def test_a_perfect_classifier():
    right = evaluation(list(CLASSES), np.eye(3) * 0.98 + 0.01)
    assert "no image was taken for another class" in shown(right)


def test_calibration_abstention_and_unknown_images_have_a_line_each(six):
    lines = shown(six).splitlines()
    assert lines[2] == "  calibration: as it is; validation asks for no other temperature"
    assert lines[3] == "  answers 100.0% of the test images, 66.7% of them right; never unsure"
    assert lines[4].startswith("  unknown: 0.0% of the test images, 75.0% of images that show none of the classes")
    assert "0.987" in lines[4]


def test_a_rule_that_does_something_says_what(six):
    nothing = evaluation(["hole"], [[0.8, 0.1, 0.1]], unsure_below=0.9)
    text = shown(nothing, temperature=2.0, confidence=0.9, reached=False)
    assert "  calibration: temperature 2.00; before, log loss 0.223 nats, ECE 20.0%" in text
    assert "  answers 0.0% of the test images, none; below a confidence of 0.900 it is unsure" in text
    assert "  the validation images show 90.0% at best, not `evaluate.target_accuracy` 99.0%" in text
