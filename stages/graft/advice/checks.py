"""Whether the model is usable, and why: each condition with what was found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from stages.graft.advice.facts import ClassFacts, Expected, Facts
from stages.graft.metrics.baseline_names import BASELINE_NAMES
from stages.graft.metrics.classification import wilson_interval

MAX_MORE_TEST = 4
"""Up to so many times the present test images are worth asking for to prove an accuracy; beyond, the model must become
better."""

MAX_NAMED = 3
"""Classes that a sentence names, at most."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing to know before the model is used."""

    name: str
    """What it is about, in a word."""
    holds: bool | None
    """Whether the condition holds; None: nothing is asked, it is only told."""
    text: str
    """A sentence with the numbers."""
    problem: str = ""
    """Why the model is not usable, for the headline; empty when the condition holds."""


def make_checks(facts: Facts) -> tuple[Check, ...]:
    """Hold the facts against the conditions, in the order in which a person asks."""
    checks = [_accuracy(facts), _classes(facts), _baseline(facts), _leaks(facts), _answers(facts)]
    return (*checks, *_forecast(facts))


def format_headline(facts: Facts, checks: Sequence[Check]) -> str:
    """Say in a sentence whether the model is usable, and if not, why."""
    right = f"{facts.accuracy:.1%} of {facts.num_test:,} test images are right"
    if not facts.passed:
        reasons = [check.problem for check in checks if check.holds is False] or ["the gate refuses it"]
        return f"Not usable yet: {'; '.join(reasons)}."
    if all(check.holds is None for check in checks):
        return f"Nothing is asked in `evaluate.gate`: {right}; judge by the lines below."
    return f"Usable: {right}, and every condition of `evaluate.gate` holds."


def num_needed(accuracy: float, wanted: float, confidence_level: float) -> int | None:
    """Count the independent test images at which the accuracy's interval stays above the wanted accuracy.

    Args:
        accuracy: what the test images show, [0, 1].
        wanted: the least lower end, [0, 1].
        confidence_level: of the interval (Wilson).
    Returns:
        The smallest such number; None when the accuracy itself is not above what is wanted.
    """
    if accuracy <= wanted:
        return None
    low, high = 0, 1
    while wilson_interval(accuracy * high, high, confidence_level)[0] < wanted:
        low, high = high, 2 * high
    while high - low > 1:  # the lower end rises with the number
        middle = (low + high) // 2
        is_enough = wilson_interval(accuracy * middle, middle, confidence_level)[0] >= wanted
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def num_provable(facts: Facts) -> int | None:
    """Count the independent test images that prove the accuracy asked for; None where that is no way: nothing is
    asked, it is proven already, or it takes more than MAX_MORE_TEST times the present ones."""
    asked = facts.conditions.min_accuracy
    if asked is None or facts.interval[0] >= asked:
        return None
    needed = num_needed(facts.accuracy, asked, facts.confidence_level)
    if needed is None:
        return None
    if needed <= facts.num_groups:  # unequal groups count less; the interval narrows with the root of their number
        excess = (facts.accuracy - facts.interval[0]) / (facts.accuracy - asked)
        needed = ceil(facts.num_groups * excess**2)
    return needed if needed <= MAX_MORE_TEST * facts.num_groups else None


def _accuracy(facts: Facts) -> Check:
    (low, high), asked = facts.interval, facts.conditions.min_accuracy
    groups = "" if facts.num_groups == facts.num_test else f" in {facts.num_groups:,} independent groups"
    found = (
        f"{facts.accuracy:.1%} of {facts.num_test:,} test images{groups} are right; on images like these, expect "
        f"{low:.1%} to {high:.1%} ({facts.confidence_level:.0%} interval)"
    )
    if asked is None:
        return Check(name="accuracy", holds=None, text=f"{found}.")
    if low >= asked:
        return Check(name="accuracy", holds=True, text=f"{found}; at least {asked:.1%} is asked.")
    if needed := num_provable(facts):
        problem = f"{facts.num_groups:,} independent test images cannot show the {asked:.1%} asked"
        text = f"{found}; that shows the {asked:.1%} asked only with about {needed:,} independent test images."
        return Check(name="accuracy", holds=False, problem=problem, text=text)
    relation = "below" if facts.accuracy < asked else "too close to"
    problem = f"its accuracy of {facts.accuracy:.1%} is {relation} the {asked:.1%} asked"
    return Check(name="accuracy", holds=False, problem=problem, text=f"{found}; at least {asked:.1%} is asked.")


def _classes(facts: Facts) -> Check:
    asked, weakest = facts.conditions.min_recall, facts.weakest
    if not weakest:
        return Check(name="classes", holds=None, text="No class has a test image.")
    if asked is None:
        text = f"The weakest class is {weakest[0].label}: {weakest[0].recall:.1%} of its images are found."
        return Check(name="classes", holds=None, text=text)
    missed = [one for one in weakest if one.recall < asked]
    problems = [f"{one.label} {one.recall:.1%} of {one.num_test:,}" for one in missed] + [
        f"{one.label} unknown, without a test image" for one in facts.untested
    ]
    if not problems:
        worst = f"the weakest, {weakest[0].label}, {weakest[0].recall:.1%} of {weakest[0].num_test:,}"
        text = f"Every class is found; {worst} ({asked:.1%} is asked)."
        return Check(name="classes", holds=True, text=text)
    found = [(missed, "missed too often"), (facts.untested, "without a test image")]
    problem = " and ".join(f"{_subject(classes)} {what}" for classes, what in found if classes)
    text = f"Images found: {shorten_list(problems)}; at least {asked:.1%} of every class is asked."
    return Check(name="classes", holds=False, problem=problem, text=text)


def _subject(classes: Sequence[ClassFacts]) -> str:
    return f"{classes[0].label} is" if len(classes) == 1 else f"{len(classes)} classes are"


def _baseline(facts: Facts) -> Check:
    baseline, asked = facts.baseline, facts.conditions.beat_baselines
    p = "p < 0.001" if baseline.p_value < 0.001 else f"p = {baseline.p_value:.2g}"
    figures = (
        f"{BASELINE_NAMES.get(baseline.name, baseline.name)}: {facts.accuracy:.1%} against {baseline.accuracy:.1%}; "
        f"{baseline.num_gained:,} images gained, {baseline.num_lost:,} lost ({p})."
    )
    if baseline.is_beaten:
        return Check(name="baseline", holds=asked or None, text=f"Better than {figures}")
    problem = "it is not proven better than a simple baseline"
    if baseline.num_lost >= baseline.num_gained:
        is_same_network = baseline.name == "neighbours"
        problem = "its nearest neighbours are better" if is_same_network else "a simple baseline is as good"
    holds = False if asked else None
    return Check(name="baseline", holds=holds, problem=problem, text=f"Not proven better than {figures}")


def _leaks(facts: Facts) -> Check:
    num, most = facts.num_leaked, facts.conditions.max_leaked
    if num is None:
        text = "Near-duplicates were not looked for: some of the test images may be known to the model."
        return Check(name="leaks", holds=None, text=text)
    if not num:
        text = "No test image has a near-duplicate in train or validation."
        return Check(name="leaks", holds=None if most is None else True, text=text)
    subject = "1 test image has" if num == 1 else f"{num:,} test images have"
    rest = "" if facts.accuracy_unleaked is None else f" Without them, the accuracy is {facts.accuracy_unleaked:.1%}."
    text = f"{subject} a near-duplicate in train or validation: the model has seen the answer.{rest}"
    problem = f"{num:,} of the test images {'is' if num == 1 else 'are'} known to it"
    return Check(name="leaks", holds=None if most is None else num <= most, problem=problem, text=text)


def _answers(facts: Facts) -> Check:
    if facts.selective_accuracy is None:
        found = "It is sure enough of no test image to answer"
    else:
        found = f"It answers {facts.coverage:.1%} of the test images, {facts.selective_accuracy:.1%} of them right"
    if facts.reachable_accuracy is None:
        end = f"({facts.target_accuracy:.1%} is wanted); a person looks at the others."
        end = end if facts.coverage < 1 else f"({facts.target_accuracy:.1%} is wanted)."
        return Check(name="answers", holds=None, text=f"{found} {end}")
    end = f"validation shows {facts.reachable_accuracy:.1%} at best, not the {facts.target_accuracy:.1%} wanted."
    return Check(name="answers", holds=None, text=f"{found}; {end}")


def _forecast(facts: Facts) -> Iterator[Check]:
    if (forecast := facts.forecast) is None:
        return
    twice, four = _expected(forecast.at_twice), _expected(forecast.at_four_times)
    target = f"; {forecast.for_target}" if forecast.for_target else ""
    text = f"With twice the labelled images expect {twice}, with four times {four}{target}."
    yield Check(name="more labels", holds=None, text=text)


def _expected(accuracy: Expected) -> str:
    return f"{accuracy.middle:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"


def shorten_list(names: Sequence[str]) -> str:
    """Join the first names, and count the others."""
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
