"""The gate: conditions that a classifier must meet on the test images before it is offered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt

from stages.graft.core.params import Params
from stages.graft.metrics.classification import ClassScore

Share = Annotated[float, Field(ge=0, le=1)]

NUM_SHOWN = 3
"""Number of reasons shown in the terminal; the report has all of them."""


class GateParams(Params):
    """The section `evaluate.gate`; null switches a condition off."""

    min_accuracy: Share | None
    """Lower limit of the accuracy's interval, in [0, 1]: a lucky draw of few test images is not enough."""
    max_leaked: NonNegativeInt | None
    """Test images with a near-duplicate in train or val, at most: of these the model has seen the answer."""
    min_recall: Share | None
    """Recall of every class, in [0, 1]: a good mean does not hide a class that is often missed."""


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """Result of the gate."""

    params: GateParams
    """The conditions."""
    accuracy_low: float
    """Lower end of the accuracy's interval, [0, 1]."""
    num_leaked: int | None
    """Test images with a near-duplicate in train or val; None when they were not looked for."""
    lowest_recall: float | None
    """Lowest recall of the classes with test images; None when no class has any."""
    lowest_recall_class: str | None
    """The class with this recall."""
    reasons: tuple[str, ...]
    """Reasons of a refusal, one sentence each; empty when every condition holds."""

    @property
    def passed(self) -> bool:
        """Whether every condition holds."""
        return not self.reasons


def judge(params: GateParams, accuracy_low: float, num_leaked: int | None, scores: Sequence[ClassScore]) -> GateVerdict:
    """Hold the lower end of the accuracy's interval, the leaks and the scores of every class against the conditions."""
    worst = min((score for score in scores if score.num_images), key=lambda score: score.recall, default=None)
    return GateVerdict(
        params=params,
        accuracy_low=accuracy_low,
        num_leaked=num_leaked,
        lowest_recall=None if worst is None else worst.recall,
        lowest_recall_class=None if worst is None else worst.label,
        reasons=(*_leaks(params, num_leaked), *_reasons(params, accuracy_low, scores)),
    )


def gate_record(verdict: GateVerdict) -> dict[str, Any]:
    """Flatten a verdict for a report."""
    return {
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "min_accuracy": verdict.params.min_accuracy,
        "accuracy_low": verdict.accuracy_low,
        "max_leaked": verdict.params.max_leaked,
        "num_leaked": verdict.num_leaked,
        "min_recall": verdict.params.min_recall,
        "lowest_recall": None if verdict.lowest_recall is None else round(verdict.lowest_recall, 6),
        "lowest_recall_class": verdict.lowest_recall_class,
    }


def format_gate(verdict: GateVerdict) -> str:
    """Describe in one line whether the gate holds, and the reasons if not."""
    if verdict.passed:
        return "the gate holds" if set(vars(verdict.params).values()) - {None} else "the gate asks for nothing"
    shown = " ".join(verdict.reasons[:NUM_SHOWN])
    rest = len(verdict.reasons) - NUM_SHOWN
    return f"the gate refuses this model. {shown}" + (f" And {rest} more." if rest > 0 else "")


def _leaks(params: GateParams, num_leaked: int | None) -> Iterator[str]:
    if params.max_leaked is not None and num_leaked is not None and num_leaked > params.max_leaked:
        yield (
            f"{num_leaked} test image{'s have' if num_leaked > 1 else ' has'} a near-duplicate in train or validation, "
            f"more than `evaluate.gate.max_leaked` {params.max_leaked}."
        )


def _reasons(params: GateParams, accuracy_low: float, scores: Sequence[ClassScore]) -> Iterator[str]:
    """A class without test images is refused too: its recall is unknown."""
    asked, least = params.min_accuracy, params.min_recall
    if asked is not None and accuracy_low < asked:
        yield f"Accuracy may be as low as {accuracy_low:.1%}, below `evaluate.gate.min_accuracy` {asked:.1%}."
    if least is None:
        return
    for score in scores:
        if not score.num_images:
            yield f"The recall of `{score.label}` is unknown: it has no test image."
        elif score.recall < least:
            yield f"The recall of `{score.label}` is {score.recall:.1%}, below `evaluate.gate.min_recall` {least:.1%}."
