import numpy as np
import pytest

from stages.graft.evaluation.results import metrics_record
from stages.graft.evaluation.terminal_summary import format_summary
from stages.graft.metrics.selective import Threshold
from stages.graft.model.decision import DecisionRule
from stages.graft.model.novelty import NoveltyDetector
from tests.graft.evaluation.test_results import CLASSES, evaluation


def shown(scored, unknown_above=1.5, **changed):
    """The summary of scored images under a rule, with some of their metrics changed."""
    rule = DecisionRule(
        classes=CLASSES,
        temperature=1.0,
        target_accuracy=0.99,
        threshold=Threshold(confidence=0.0, coverage=0.5, accuracy=0.9, reached=True),
        false_alarm_rate=0.05,
        unknown_above=unknown_above,
        num_known_groups=12,
        detector=NoveltyDetector(projection=np.eye(1, dtype=np.float32), centres=np.eye(1, dtype=np.float32)),
    )
    return format_summary(scored, metrics_record(scored) | changed, rule)


@pytest.fixture
def six():
    """Six images, four of them right: a hole taken for an inclusion and a scratch for an inclusion."""
    sure, missed = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    labels = ["hole", "hole", "hole", "inclusion", "inclusion", "scratch"]
    return evaluation(labels, [sure, sure, missed, missed, missed, missed])


def test_one_line_says_how_good_it_is_and_where_it_is_weak(six):
    assert shown(six) == [
        "66.7% of 6 test images right (95% interval 30.0% to 90.3%), weakest scratch with 0.0% found; sure of 100.0%, "
        "of which 66.7% right"
    ]


def test_a_perfect_classifier_has_no_weakest_class():
    right = evaluation(list(CLASSES), np.eye(3) * 0.98 + 0.01)
    assert "weakest" not in shown(right)[0]


def test_a_long_name_is_cut():
    classes = tuple(f"{'very ' * 20}long {k:02}" for k in range(30))
    probabilities = np.full((30, 30), 0.01) + np.roll(np.eye(30), 1, axis=1) * 0.7
    [line] = shown(evaluation(list(classes), probabilities, classes))
    assert "weakest very very very very very very very very… with 0.0% found" in line


def test_a_classifier_that_is_never_sure():
    nothing = evaluation(["hole"], [[0.8, 0.1, 0.1]], unsure_below=0.9)
    assert shown(nothing)[0].endswith("; sure of none")


def test_test_images_that_were_seen_get_a_second_line(six):
    assert shown(six, num_leaked=2, accuracy_unleaked=0.5)[1:] == [
        "2 of them have a near-duplicate in train or validation; without them 50.0% right"
    ]
    assert shown(six, num_leaked=6, accuracy_unleaked=None)[1].endswith("; none is left")


def test_too_few_images_to_call_any_unknown_are_told(six):
    assert shown(six, unknown_above=None)[1:] == [
        "no image is called unknown: 12 independent images are too few to promise 5.0% false alarms, 19 are needed"
    ]
