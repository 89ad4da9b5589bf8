"""Ten situations with the decision and the next steps to expect, and the words in which they are told."""

from dataclasses import replace

import pytest

from stages.graft.advice.advice import (
    ADVICE,
    WIDTH,
    Advice,
    format_advice,
    format_advice_markdown,
    give_advice,
    read_advice,
    write_advice,
)
from stages.graft.advice.checks import num_needed
from stages.graft.advice.facts import BaselineFacts, ClassFacts, Conditions, CurvePoint, Expected, Facts, Forecast
from stages.graft.advice.next_steps import MAX_STEPS
from stages.graft.core.errors import DataError
from stages.graft.metrics.classification import wilson_interval
from stages.graft.storage.files import write_text

CLASSES = ("dent", "hole", "scratch")


def classes(
    *recalls: float, num_train: tuple[int, ...] = (100, 100, 100), num_test: int = 50
) -> tuple[ClassFacts, ...]:
    return tuple(
        ClassFacts(label=label, recall=recall, num_test=num_test, num_train=n)
        for label, recall, n in zip(CLASSES, recalls, num_train, strict=True)
    )


def curve(before: float, highest: float, last: float) -> tuple[CurvePoint, ...]:
    first = CurvePoint(per_class=50, num_train=150, accuracy=before, highest=highest)
    return first, CurvePoint(per_class=100, num_train=300, accuracy=last, highest=last)


def baseline(gained: int, lost: int, accuracy: float = 0.4, p_value: float = 0.0) -> BaselineFacts:
    counts = {"num_gained": gained, "num_lost": lost}
    return BaselineFacts(name="pixels", accuracy=accuracy, **counts, p_value=p_value, is_beaten=not p_value)


GOOD = Facts(
    source="/data/steel",
    conditions=Conditions(min_accuracy=0.9, min_recall=0.8, max_leaked=0, beat_baselines=True),
    passed=True,
    num_test=150,
    num_groups=150,
    accuracy=0.96,
    interval=wilson_interval(144, 150),
    confidence_level=0.95,
    classes=classes(0.98, 0.94, 0.96),
    baseline=baseline(90, 2),
    num_leaked=0,
    accuracy_unleaked=None,
    is_test_given=False,
    coverage=0.8,
    selective_accuracy=0.99,
    target_accuracy=0.99,
    reachable_accuracy=None,
    most_confused=("hole", "dent", 2),
    curve=curve(0.95, 0.96, 0.96),
    num_images=1000,
    num_unused=0,
    num_doubtful=0,
    is_finetuned=None,
)
"""A good model with nothing special: six of 150 are wrong, the curve is flat."""


def scored(facts: Facts, num_right: int, num_test: int = 150, **changes) -> Facts:
    numbers = {"num_test": num_test, "num_groups": num_test, "accuracy": num_right / num_test}
    return replace(facts, **numbers, interval=wilson_interval(num_right, num_test), **changes)


NETWORK, FINETUNE, USE = "graft compare-backbones", "dvc exp run -S finetune.strategy=partial", "graft predict IMAGES"

UNTESTED = ClassFacts(label="rust", recall=0.0, num_test=0, num_train=9)

SITUATIONS = {
    "a good model, a flat curve": (GOOD, True, "Usable: 96.0% of 150", [NETWORK, FINETUNE, USE]),
    "all right": (
        scored(GOOD, 150, classes=classes(1, 1, 1), most_confused=None),
        True,
        "Usable: 100.0% of 150",
        [USE],
    ),
    "more labels still help": (
        replace(GOOD, curve=curve(0.92, 0.93, 0.96)),
        True,
        "Usable: 96.0% of 150",
        ["Label more images, most of all of hole (94.0% of them found, the fewest)", NETWORK, FINETUNE],
    ),
    "pixels win": (
        scored(GOOD, 138, 140, passed=False, baseline=baseline(1, 3, accuracy=1.0, p_value=0.6)),
        False,
        "Not usable yet: a simple baseline is as good.",
        [NETWORK, FINETUNE, "Look at the 2 errors"],
    ),
    "near-duplicates leak": (
        replace(GOOD, passed=False, num_leaked=12, accuracy_unleaked=0.9),
        False,
        "Not usable yet: 12 of the test images are known to it.",
        ["dvc exp run -S split.keep_duplicates_together=true", NETWORK, FINETUNE],
    ),
    "too few test images for the claim": (
        scored(GOOD, 48, 50, passed=False),
        False,
        "Not usable yet: 50 independent test images cannot show the 90.0% asked.",
        ["dvc exp run -S split.test_fraction=0.10", NETWORK, FINETUNE],
    ),
    "a scarce class is missed": (
        replace(GOOD, passed=False, classes=classes(0.98, 0.97, 0.5, num_train=(100, 100, 10))),
        False,
        "Not usable yet: scratch is missed too often.",
        ["Label more images of scratch", NETWORK, FINETUNE],
    ),
    "labels are wrong": (
        scored(GOOD, 141, passed=False, num_doubtful=50, curve=curve(0.9, 0.91, 0.93)),
        False,
        "Not usable yet: 150 independent test images cannot show the 90.0% asked.",
        ["Check the 50 labels", "split.test_fraction", "Label more images"],
    ),
    "a weak model that fine-tuning did not help": (
        scored(
            replace(GOOD, is_finetuned=False, classes=classes(0.9, 0.7, 0.5), curve=curve(0.6, 0.65, 0.7)),
            105,
            passed=False,
        ),
        False,
        "Not usable yet: its accuracy of 70.0% is below the 90.0% asked; 2 classes are missed too often.",
        ["Label more images, most of all of scratch", NETWORK, "Look at the 45 errors"],
    ),
    "a class without a test image": (
        replace(GOOD, passed=False, classes=(*GOOD.classes, UNTESTED)),
        False,
        "Not usable yet: rust is without a test image.",
        ["Add images of rust to /data/steel.", NETWORK, FINETUNE],
    ),
}  # fmt: skip
"""By name: the facts, whether the model is usable, how the headline begins, and what the steps are or say, in order."""


@pytest.mark.parametrize("name", SITUATIONS)
def test_situations(name: str):
    facts, usable, headline, steps = SITUATIONS[name]
    advice = give_advice(facts)
    assert advice.usable is usable
    assert advice.headline.startswith(headline)
    told = [f"{step.action} {step.command}" for step in advice.next_steps]
    assert len(told) == len(steps) <= MAX_STEPS
    for said, expected in zip(told, steps, strict=True):
        assert expected in said


def test_nothing_asked_is_neither_usable_nor_not():
    nothing = Conditions(min_accuracy=None, min_recall=None, max_leaked=None, beat_baselines=False)
    advice = give_advice(replace(GOOD, conditions=nothing))
    assert advice.usable is None
    assert advice.headline.startswith("Nothing is asked in `evaluate.gate`: 96.0% of 150 test images are right")
    assert {check.holds for check in advice.checks} == {None}


def test_the_gain_decides_the_order():
    """Two points by labels to check, three by more labels, 0.2 by none."""
    few = replace(GOOD, accuracy=0.9, num_doubtful=20, curve=curve(0.92, 0.93, 0.95))
    assert [step.kind for step in give_advice(few).next_steps] == ["measured", "measured", "untried"]
    assert give_advice(few).next_steps[0].action.startswith("Label more images")
    assert give_advice(replace(few, num_doubtful=40)).next_steps[0].action.startswith("Check the 40 labels")
    assert give_advice(replace(few, num_doubtful=2, curve=())).next_steps[0].kind == "untried"


def test_a_curve_rises_only_above_the_best_draw():
    assert "Label more" not in format_advice(give_advice(replace(GOOD, curve=curve(0.92, 0.96, 0.96))))
    assert "4.0 points from 150 to 300" in format_advice(give_advice(replace(GOOD, curve=curve(0.92, 0.95, 0.96))))


def test_a_forecast_is_told_and_replaces_the_curve():
    twice, four = Expected(low=0.96, middle=0.97, high=0.98), Expected(low=0.965, middle=0.98, high=0.99)
    words = "99.0% takes 3,000 to very many labels"
    forecast = Forecast(at_twice=twice, at_four_times=four, gain_at_twice=0.01, for_target=words)
    advice = give_advice(replace(GOOD, forecast=forecast))
    assert advice.checks[-1].text == (
        "With twice the labelled images expect 97.0% (96.0% to 98.0%), with four times 98.0% (96.5% to 99.0%); "
        "99.0% takes 3,000 to very many labels."
    )
    assert advice.next_steps[0].reason == "With twice the labelled images, 1.0 points more are expected."


def test_images_without_a_label_are_pointed_at():
    for facts in (
        replace(GOOD, curve=curve(0.92, 0.93, 0.96), num_unlabelled=50),
        replace(GOOD, classes=classes(0.98, 0.97, 0.5, num_train=(100, 100, 10)), num_unlabelled=50),
    ):
        step = give_advice(facts).next_steps[0]
        assert step.action.startswith("Label more images")
        assert step.reason.endswith(". `graft suggest 24` says which of the images without a label.")


@pytest.mark.parametrize(
    ("source", "words"), [("a.csv", "list them in a.csv"), ("a.yaml", "raise their number in a.yaml")]
)
def test_images_come_into_a_source_in_its_own_way(source, words):
    facts = replace(GOOD, source=source, curve=curve(0.92, 0.93, 0.96))
    assert words in give_advice(facts).next_steps[0].action


def test_labels_that_exist_are_used_first():
    facts = replace(GOOD, num_unused=400, curve=curve(0.92, 0.93, 0.96))
    assert give_advice(facts).next_steps[0].command == "dvc exp run -S split.train_per_class=null"
    assert "left out" not in format_advice(give_advice(replace(facts, curve=())))


def test_leaks_of_given_splits_are_taken_out_by_a_person():
    facts = replace(GOOD, num_leaked=3, is_test_given=True)
    assert give_advice(facts).next_steps[0].action.startswith("Take the 3 known images out of the test")
    unknown = give_advice(replace(GOOD, num_leaked=None))
    assert unknown.next_steps[0].command == "dvc exp run -S duplicates.method=related"


def test_a_given_test_split_grows_by_images_alone():
    facts = scored(GOOD, 48, 50, is_test_given=True)
    assert give_advice(facts).next_steps[0].action == "Add labelled test images to /data/steel."


def test_a_class_with_few_test_images_is_no_evidence():
    few = tuple(replace(one, recall=1.0, num_test=num) for one, num in zip(GOOD.classes, (3, 13, 14), strict=True))
    step = give_advice(replace(GOOD, classes=few)).next_steps[0]
    assert step.action == "Label more images of dent, hole, and put them into /data/steel."
    # 0.8^13 = 0.055 and 0.8^14 = 0.044: with 14 images, all found, fewer than 80% are found in truth with 4% at most.
    assert step.reason == "Down to 3 test images show them; 14 that are all found show that 80% are."
    rising = replace(GOOD, classes=few, curve=curve(0.9, 0.92, 0.96))
    assert [step.action.startswith("Label more") for step in give_advice(rising).next_steps] == [True, False, False]
    enough = tuple(replace(one, num_test=14) for one in GOOD.classes)
    assert give_advice(replace(GOOD, classes=enough)).next_steps[0].command == NETWORK


def test_a_target_that_validation_does_not_show():
    advice = give_advice(replace(GOOD, reachable_accuracy=0.954, is_finetuned=True))
    assert "validation shows 95.4% at best, not the 99.0% wanted." in advice.checks[4].text
    assert advice.next_steps[1].command == "dvc exp run -S evaluate.target_accuracy=0.95"


@pytest.mark.parametrize(("accuracy", "wanted"), [(0.96, 0.9), (0.93, 0.9), (1.0, 0.99), (0.901, 0.9)])
def test_the_number_needed_is_the_smallest(accuracy, wanted):
    n = num_needed(accuracy, wanted, 0.95)
    assert wilson_interval(accuracy * n, n)[0] >= wanted > wilson_interval(accuracy * (n - 1), n - 1)[0]


def test_large_groups_ask_for_more_than_there_are():
    facts = replace(scored(GOOD, 175, 183), num_groups=133, passed=False, interval=(0.895, 0.982))
    check = give_advice(facts).checks[0]
    # (175 / 183 - 0.895) / (175 / 183 - 0.9) is 1.0889, and its square times 133 is 157.7.
    assert "only with about 158 independent test images" in check.text


def test_no_number_proves_what_is_not_so():
    assert num_needed(0.9, 0.9, 0.95) is None


def test_the_terminal_shows_everything_and_is_not_wide():
    advice = give_advice(SITUATIONS["labels are wrong"][0])
    text = format_advice(advice)
    assert max(map(len, text.splitlines())) <= WIDTH
    flat = " ".join(text.split())
    for words in (
        advice.headline,
        *(check.text for check in advice.checks),
        *(step.reason for step in advice.next_steps),
    ):
        assert words in flat
    assert text.splitlines()[-1].strip() == advice.next_steps[-1].command


def test_markdown_is_not_broken_by_a_name():
    facts = replace(GOOD, most_confused=("<b>`", "*|", 2), source="[x](y)", curve=curve(0.92, 0.93, 0.96))
    text = format_advice_markdown(give_advice(facts))
    assert "[x]" not in text
    assert text.splitlines()[0] == (
        "**Usable&#58; 96.0% of 150 test images are right, and every condition of &#96;evaluate.gate&#96; holds.**"
    )
    assert text.splitlines()[-1].endswith("`dvc exp run -S finetune.strategy=partial`")


def test_it_is_written_and_read(tmp_path):
    advice = give_advice(GOOD)
    assert read_advice(tmp_path) is None
    write_advice(advice, tmp_path)
    assert read_advice(tmp_path) == advice
    assert isinstance(read_advice(tmp_path), Advice)
    write_text("{}", tmp_path / ADVICE)
    with pytest.raises(DataError, match="is not of this version"):
        read_advice(tmp_path)
