"""The gate, by hand: each condition alone, at its very edge, switched off, and in words."""

import json

import pytest

from stages.graft.core.errors import ParamsError
from stages.graft.core.params import load_params
from stages.graft.evaluation.quality_gate import GateParams, format_gate, gate_record, judge
from stages.graft.metrics.classification import ClassScore, class_scores, confusion_matrix, wilson_interval


def score(label: str, found: int, there: int) -> ClassScore:
    return ClassScore(label=label, precision=1, recall=found / there if there else 0.0, f1=1, num_images=there)


def gate(accuracy: float | None = None, recall: float | None = None, leaked: int | None = None) -> GateParams:
    return GateParams(min_accuracy=accuracy, min_recall=recall, max_leaked=leaked)


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
    assert format_gate(judge(gate(), 0.0, 0, HALF)) == "the gate asks for nothing"
    assert format_gate(judge(gate(0.5), 0.5, 0, HALF)) == "the gate holds"


def test_the_words_name_three_reasons_and_count_the_others():
    many = [score(f"c{k}", 0, 1) for k in range(9)]
    found = judge(gate(None, 0.5), 1.0, 0, many)
    words = format_gate(found)
    assert words.startswith("the gate refuses this model. The recall of `c0` is 0.0%, below")
    assert words.endswith("`evaluate.gate.min_recall` 50.0%. And 6 more.")
    assert len(found.reasons) == len(gate_record(found)["reasons"]) == 9


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
    }


def test_the_order_of_the_classes_decides_nothing(rng):
    y, predicted = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    scores = class_scores(confusion_matrix(predicted, y, 4), "abcd")
    there, back = judge(gate(0.1, 0.25), 0.2, 0, scores), judge(gate(0.1, 0.25), 0.2, 0, scores[::-1])
    assert sorted(there.reasons) == sorted(back.reasons)
    assert there.lowest_recall == back.lowest_recall


@pytest.mark.parametrize("wrong", [1.5, -0.1, "high"])
def test_a_wrong_parameter_is_named(tmp_path, wrong):
    (tmp_path / "params.yaml").write_text(f"gate: {{min_accuracy: {wrong}, min_recall: null, max_leaked: null}}\n")
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
