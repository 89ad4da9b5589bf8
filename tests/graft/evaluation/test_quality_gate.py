"""The gate, by hand: each condition alone, at its very edge, switched off, and in words."""

import json
from collections.abc import Sequence

import pytest

from stages.graft.core.errors import ParamsError
from stages.graft.core.params import load_params
from stages.graft.evaluation.baseline_comparison import BaselineVerdict, BaselineVerdicts
from stages.graft.evaluation.evaluate_params import GateParams
from stages.graft.evaluation.quality_gate import GateVerdict, Measured, gate_record
from stages.graft.evaluation.quality_gate import judge as judge_measured
from stages.graft.metrics.classification import ClassScore, class_scores, confusion_matrix, wilson_interval


def score(label: str, found: int, there: int) -> ClassScore:
    return ClassScore(label=label, precision=1, recall=found / there if there else 0.0, f1=1, num_images=there)


def gate(
    accuracy: float | None = None, recall: float | None = None, leaked: int | None = None, beat: bool = False
) -> GateParams:
    return GateParams(min_accuracy=accuracy, min_recall=recall, max_leaked=leaked, beat_baselines=beat)


def baseline(name: str, gained: int, lost: int) -> BaselineVerdict:
    """The model against a baseline on a hundred images without near-duplicates; the baseline has half right."""
    right = (50 + gained - lost) / 100
    counts = {"num_gained": gained, "num_lost": lost, "groups_gained": gained, "groups_lost": lost}
    return BaselineVerdict(name=name, accuracy=0.5, model_accuracy=right, **counts)


def judge(
    params: GateParams, low: float, leaked: int | None, scores: Sequence[ClassScore], pixels=(40, 0), neighbours=(9, 0)
) -> GateVerdict:
    baselines = BaselineVerdicts(simple=baseline("pixels", *pixels), neighbours=baseline("neighbours", *neighbours))
    return judge_measured(params, Measured(accuracy_low=low, num_leaked=leaked, scores=scores, baselines=baselines))


GOOD, HALF = [score("dent", 9, 10), score("scratch", 4, 5)], [score("dent", 10, 10), score("hole", 5, 10)]


def test_it_is_the_lower_end_that_counts():
    """97 of 100 right, and the equation of Wilson's interval."""
    z = 1.959964
    low = (0.97 + z**2 / 200 - z * (0.97 * 0.03 / 100 + z**2 / 40000) ** 0.5) / (1 + z**2 / 100)
    assert wilson_interval(97, 100)[0] == pytest.approx(low, abs=1e-6) == pytest.approx(0.9155, abs=1e-4)
    assert judge(gate(0.91), low, 0, GOOD).passed
    assert not judge(gate(0.95), low, 0, GOOD).passed
    assert judge(gate(0.95), low, 0, GOOD).reasons == (
        "Accuracy may be as low as 91.5%, below `evaluate.gate.min_accuracy` 95.0%.",
    )


def test_at_the_edge_it_holds():
    assert judge(gate(0.9, 0.8), 0.9, 0, GOOD).passed
    assert not judge(gate(0.9, 0.8), 0.899999, 0, GOOD).passed
    assert not judge(gate(0.9, 0.800001), 0.9, 0, GOOD).passed


def test_one_class_missed_too_often_is_named():
    found = judge(gate(0.5, 0.8), 0.9, 0, HALF)
    assert found.reasons == ("The recall of `hole` is 50.0%, below `evaluate.gate.min_recall` 80.0%.",)
    assert (found.lowest_recall, found.lowest_recall_class) == (0.5, "hole")


def test_a_class_without_test_images_is_refused_but_is_not_the_lowest():
    found = judge(gate(None, 0.8), 0.9, 0, [*GOOD, score("fold", 0, 0)])
    assert found.reasons == ("The recall of `fold` is unknown: it has no test image.",)
    assert found.lowest_recall_class == "scratch"
    assert judge(gate(0.9, None), 0.9, 0, [score("fold", 0, 0)]).lowest_recall is None


def test_null_switches_a_condition_off():
    assert judge(gate(None, 0.5), 0.0, 0, HALF).passed
    assert judge(gate(0.5, None), 0.5, 0, HALF).passed
    assert judge(gate(), 0.0, 9, HALF, pixels=(0, 9)).passed


@pytest.mark.parametrize(
    ("pixels", "neighbours", "passed"),
    [
        ((6, 0), (9, 0), True),  # p = 2 / 2^6
        ((5, 0), (9, 0), False),  # p = 2 / 2^5: may be chance
        ((0, 9), (9, 0), False),  # worse
        ((40, 0), (3, 0), True),  # the same network's nearest images are nearly as good: that is no fault
        ((40, 0), (0, 5), True),
        ((40, 0), (0, 6), False),  # they are better beyond chance: the head is at fault
    ],
)
def test_the_model_must_beat_what_is_simple_and_not_lose_to_its_neighbours(pixels, neighbours, passed):
    found = judge(gate(beat=True), 0.9, 0, GOOD, pixels, neighbours)
    assert found.passed is passed
    assert judge(gate(), 0.9, 0, GOOD, pixels, neighbours).passed


def test_the_reason_names_the_baseline():
    assert judge(gate(beat=True), 0.9, 0, GOOD, pixels=(3, 2)).reasons == (
        "It is not proven better than grey pixels without a network: 51.0% against 50.0%, 3 images gained and 2 lost "
        "(McNemar p = 1), as `evaluate.gate.beat_baselines` asks.",
    )


def test_the_record_is_json_and_says_what_was_asked():
    assert json.loads(json.dumps(gate_record(judge(gate(0.95, 0.7), 0.9, 0, GOOD)))) == {
        "passed": False,
        "reasons": ["Accuracy may be as low as 90.0%, below `evaluate.gate.min_accuracy` 95.0%."],
        "min_accuracy": 0.95,
        "accuracy_low": 0.9,
        "max_leaked": None,
        "num_leaked": 0,
        "min_recall": 0.7,
        "lowest_recall": 0.8,
        "lowest_recall_class": "scratch",
        "beat_baselines": False,
    }


def test_the_order_of_the_classes_decides_nothing(rng):
    y, predicted = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    scores = class_scores(confusion_matrix(predicted, y, 4), "abcd")
    there, back = judge(gate(0.1, 0.25), 0.2, 0, scores), judge(gate(0.1, 0.25), 0.2, 0, scores[::-1])
    assert sorted(there.reasons) == sorted(back.reasons)
    assert there.lowest_recall == back.lowest_recall


@pytest.mark.parametrize("wrong", [1.5, -0.1, "high"])
def test_a_wrong_parameter_is_named(tmp_path, wrong):
    (tmp_path / "params.yaml").write_text(
        f"gate: {{min_accuracy: {wrong}, min_recall: null, max_leaked: null, beat_baselines: true}}\n"
    )
    with pytest.raises(ParamsError, match=r"`gate\.min_accuracy`"):
        load_params("gate", GateParams, tmp_path / "params.yaml")


@pytest.mark.parametrize(("most", "num_leaked", "passed"), [(0, 0, True), (0, 1, False), (2, 2, True), (None, 9, True)])
def test_test_images_that_leak_are_refused_beyond_the_most_allowed(most, num_leaked, passed):
    found = judge(gate(None, None, most), 0.9, num_leaked, GOOD)
    assert found.passed == passed
    if not passed:
        assert found.reasons == (
            "1 test image has a near-duplicate in train or validation, more than `evaluate.gate.max_leaked` 0.",
        )


def test_where_near_duplicates_were_not_looked_for_nothing_is_known():
    assert judge(gate(None, None, 0), 0.9, None, GOOD).passed
