"""What to do next: at most three steps, each with its command, the largest expected gain first.

Every step follows from a rule on what was measured. First comes what makes the numbers believable; then steps with a
measured gain of at least MIN_GAIN, the largest first; then what was not tried, whose gain is not known; then the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, log
from pathlib import PurePath
from statistics import fmean
from typing import Literal, get_args

from stages.graft.advice.checks import num_provable, shorten_list
from stages.graft.advice.facts import ClassFacts, Facts
from stages.graft.metrics.label_doubt import MAX_PROBABILITY

MAX_STEPS = 3
"""Steps that a person is told."""

MIN_GAIN = 0.005
"""A smaller measured gain comes after what was not tried, as a share of the images."""

MAX_TEST_FRACTION = 0.4
"""Largest `split.test_fraction` that is advised: the others train."""

MAX_CHANCE = 0.05
"""Largest chance that all test images of a class are found although fewer than asked would be."""

SCARCE = 0.5
"""A class is scarce with less than this share of the average class's training images."""

Kind = Literal["believable", "measured", "untried", "other"]
"""Why a step stands where it does, the first first: it makes the numbers believable; its gain is measured; it was not
tried; the rest."""

REPRO, CHANGE = "graft repro", "dvc exp run -S"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do."""

    action: str
    """What to do, in a sentence."""
    reason: str
    """What was measured that speaks for it, in a sentence."""
    command: str
    """To type in the repository's root."""
    kind: Kind
    """Why it stands where it does."""
    gain: float = 0.0
    """Expected gain as a share of the images, from a measurement; 0: not known."""


def choose_steps(facts: Facts) -> tuple[Step, ...]:
    """Choose the steps for these facts: the best MAX_STEPS of all that apply, at least one."""
    steps = [step for rule in RULES for step in rule(facts)]
    kinds = get_args(Kind)
    ordered = sorted(steps, key=lambda step: (kinds.index(step.kind), -step.gain))  # of equals, the order of RULES
    return tuple(ordered[:MAX_STEPS])


def _leaks(facts: Facts) -> Iterator[Step]:
    """Numbers from known images say nothing."""
    if facts.num_leaked is None:
        yield Step(
            kind="believable",
            action="Look for near-duplicates.",
            reason="Without that, test images may be known to the model, and the accuracy too high.",
            command=f"{CHANGE} duplicates.method=related",
        )
    elif facts.num_leaked and not facts.is_test_given:
        yield Step(
            kind="believable",
            action="Keep near-duplicates together in the split.",
            reason=f"{facts.num_leaked:,} test images have one in train or validation, so the accuracy is too high.",
            command=f"{CHANGE} split.keep_duplicates_together=true",
        )
    elif facts.num_leaked:
        yield Step(
            kind="believable",
            action=f"Take the {facts.num_leaked:,} known images out of the test; reports/duplicates.csv lists them.",
            reason="They have a near-duplicate in train or validation, and the source gives their split.",
            command=REPRO,
        )


def _labels(facts: Facts) -> Iterator[Step]:
    """At most the share of wrong labels can be gained; where they are half as many as the errors, all is in doubt."""
    if num := facts.num_doubtful:
        gain = num / facts.num_images
        is_much = gain >= max(MIN_GAIN, (1 - facts.accuracy) / 2)
        yield Step(
            kind="believable" if is_much else _kind_of(gain),
            gain=gain,
            action=f"Check the {num:,} label{'s that look' if num > 1 else ' that looks'} wrong, the first in "
            "reports/label_errors.csv: write right, wrong or the class in its column mark.",
            reason=f"That is {gain:.1%} of all labels; heads fitted without these images give their labels less than "
            f"{MAX_PROBABILITY:.0%}.",
            command="graft labels import reports/label_errors.csv",
        )


def _untested_classes(facts: Facts) -> Iterator[Step]:
    """The recall of a class without test images is unknown."""
    if names := [one.label for one in facts.untested]:
        yield Step(
            kind="believable",
            action=f"Add images of {shorten_list(names)} to {facts.source}.",
            reason="No test image shows them, so nothing is known of their errors.",
            command=REPRO,
        )


def _thin_classes(facts: Facts) -> Iterator[Step]:
    """The recall that is asked holds on so few images that a lower one would often look the same."""
    least = facts.conditions.min_recall
    if not facts.passed or least is None or not 0 < least < 1:
        return
    needed = ceil(log(MAX_CHANCE) / log(least))
    if thin := [one for one in facts.classes if one.num_test < needed]:
        fewest = min(one.num_test for one in thin)
        yield Step(
            kind="believable",
            action=f"Label more images of {shorten_list([one.label for one in thin])}, and {_add_to(facts.source)}.",
            reason=f"Down to {fewest:,} test image{'s' * (fewest > 1)} show them; {needed:,} that are all found show "
            f"that {least:.0%} are.",
            command=REPRO,
        )


def _more_test_images(facts: Facts) -> Iterator[Step]:
    """An accuracy above what is asked, but on too few images to show it."""
    if (needed := num_provable(facts)) is None:
        return
    reason = (
        f"At {facts.accuracy:.1%}, about {needed:,} independent test images show the "
        f"{facts.conditions.min_accuracy:.1%} asked; there are {facts.num_groups:,}."
    )
    share = facts.num_test / facts.num_images * needed / facts.num_groups
    if share <= MAX_TEST_FRACTION and not facts.is_test_given:
        command = f"{CHANGE} split.test_fraction={ceil(100 * share) / 100:.2f}"
        action = "Test on a larger part of the images."
    else:
        action, command = f"Add labelled test images to {facts.source}.", REPRO
    yield Step(kind="believable", action=action, reason=reason, command=command)


def _all_labels(facts: Facts) -> Iterator[Step]:
    """Labelled images are left out of training, and the curve of accuracy over training images still rises."""
    gain = gain_of_labels(facts)
    if facts.num_unused and gain > 0:
        yield Step(
            kind="measured",
            gain=gain,
            action=f"Train with the {facts.num_unused:,} labelled images that are left out.",
            reason=_format_rise(facts, gain),
            command=f"{CHANGE} split.train_per_class=null",
        )


def _more_labels(facts: Facts) -> Iterator[Step]:
    """The curve still rises, or a weak class has few training images."""
    if facts.num_unused or any(_thin_classes(facts)):  # those classes are asked for already
        return
    weak = facts.weakest[0] if facts.weakest and facts.weakest[0].recall < 1 else None
    which = f"most of all of {weak.label} ({weak.recall:.1%} of them found, the fewest)" if weak else "of every class"
    if weak and _is_scarce(weak, facts):
        usual = fmean(one.num_train for one in facts.classes)
        gain = (1 - weak.recall) / len(facts.classes)
        yield Step(
            kind=_kind_of(gain),
            gain=gain,
            action=f"Label more images of {weak.label}, and {_add_to(facts.source)}.",
            reason=f"It has {weak.num_train:,} training images, the average class {usual:,.0f}; only {weak.recall:.1%} "
            f"of its test images are found.{_which_ones(facts)}",
            command=REPRO,
        )
    elif (gain := gain_of_labels(facts)) > 0:
        yield Step(
            kind=_kind_of(gain),
            gain=gain,
            action=f"Label more images, {which}, and {_add_to(facts.source)}.",
            reason=f"{_format_rise(facts, gain)}{_which_ones(facts)}",
            command=REPRO,
        )


def _which_ones(facts: Facts) -> str:
    """Name the command that chooses among images without a label, where there are some."""
    return " `graft suggest 24` says which of the images without a label." if facts.num_unlabelled else ""


def gain_of_labels(facts: Facts) -> float:
    """Estimate what more labels bring, as a share of the images: what the forecast expects of twice as many.

    Without a forecast it is what the last step of the curve brought on validation; 0 when all training images are no
    better than the best draw of the size before, as then nothing shows that the curve still rises.
    """
    if facts.forecast is not None:
        return facts.forecast.gain_at_twice
    if len(facts.curve) < 2 or facts.curve[-1].accuracy <= facts.curve[-2].highest:
        return 0.0
    return facts.curve[-1].accuracy - facts.curve[-2].accuracy


def _format_rise(facts: Facts, gain: float) -> str:
    if facts.forecast is not None:
        return f"With twice the labelled images, {100 * gain:.1f} points more are expected."
    before, last = facts.curve[-2:]
    return (
        f"Accuracy on validation still rises: {100 * gain:.1f} points from {before.num_train:,.0f} to "
        f"{last.num_train:,.0f} training images."
    )


def _network(facts: Facts) -> Iterator[Step]:
    """Another network's features may suit the images better; nothing measured says so, or a baseline does."""
    if facts.accuracy == 1 and facts.baseline.is_beaten:
        return
    ahead = facts.baseline.accuracy - facts.accuracy
    if ahead > 0:
        reason = (
            f"A simple baseline is {100 * ahead:.1f} points ahead: these features lose what tells the classes apart."
        )
    else:
        reason = "Only this one was tried; the command compares others on training and validation images."
    yield Step(
        kind="measured" if ahead >= MIN_GAIN else "untried",
        gain=max(0.0, ahead),
        action="Compare other networks.",
        reason=reason,
        command="graft compare-backbones",
    )


def _finetuning(facts: Facts) -> Iterator[Step]:
    """Fine-tuning was not tried, and there is something to gain."""
    if facts.is_finetuned is None and facts.accuracy < 1:
        yield Step(
            kind="untried",
            action="Train the last blocks of the network too.",
            reason="Only the head was trained; the weights are kept only if validation shows that they are better.",
            command=f"{CHANGE} finetune.strategy=partial",
        )


def _lower_target(facts: Facts) -> Iterator[Step]:
    """Validation never shows the wanted accuracy of the answers, so few images are answered."""
    if (best := facts.reachable_accuracy) is not None and best > 0.5:
        yield Step(
            kind="other",
            action=f"Ask for less: {best:.1%} of the answers right is the most that validation shows.",
            reason=f"It does not show the {facts.target_accuracy:.1%} of `evaluate.target_accuracy`; more images may.",
            command=f"{CHANGE} evaluate.target_accuracy={int(100 * best) / 100:.2f}",
        )


def _errors(facts: Facts) -> Iterator[Step]:
    """A person sees in the images what no number tells."""
    if facts.most_confused is None:
        return
    actual, predicted, count = facts.most_confused
    num_errors = round(facts.num_test * (1 - facts.accuracy))
    yield Step(
        kind="other",
        action=f"Look at the {num_errors:,} errors in reports/report.html." if num_errors > 1 else "Look at the error.",
        reason=f"The most frequent one: {actual} is taken for {predicted} ({count:,} of {num_errors:,}).",
        command="graft report",
    )


def _use(facts: Facts) -> Iterator[Step]:
    """What passes can be used."""
    if facts.passed or facts.most_confused is None:
        yield Step(
            kind="other",
            action="Use it.",
            reason="It classifies a folder of images, and says where it is unsure.",
            command="graft predict IMAGES --out answers.csv",
        )


RULES: tuple[Callable[[Facts], Iterator[Step]], ...] = (
    _leaks, _labels, _untested_classes, _thin_classes, _more_test_images, _all_labels, _more_labels, _network,
    _finetuning, _lower_target, _use, _errors,
)  # fmt: skip
"""Every rule gives the steps that apply."""


def _add_to(source: str) -> str:
    """How images come into a source of this kind."""
    verb = {".csv": "list them in", ".yaml": "raise their number in"}.get(PurePath(source).suffix, "put them into")
    return f"{verb} {source}"


def _is_scarce(one: ClassFacts, facts: Facts) -> bool:
    return one.num_train < SCARCE * fmean(other.num_train for other in facts.classes)


def _kind_of(gain: float) -> Kind:
    return "measured" if gain >= MIN_GAIN else "other"
