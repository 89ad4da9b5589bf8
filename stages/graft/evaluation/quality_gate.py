"""The gate: conditions that a classifier must meet on the test images before it is offered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stages.graft.evaluation.baseline_comparison import BaselineVerdicts, format_figures
from stages.graft.evaluation.evaluate_params import GateParams
from stages.graft.metrics.classification import ClassScore


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the gate looks at, measured on the test images."""

    accuracy_low: float
    """Lower end of the accuracy's interval, [0, 1]."""
    num_leaked: int | None
    """Test images with a near-duplicate in train or val; None when they were not looked for."""
    scores: Sequence[ClassScore]
    """Of every class."""
    baselines: BaselineVerdicts
    """The model against simple baselines."""


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """Result of the gate."""

    params: GateParams
    """The conditions."""
    measured: Measured
    """What they are held against."""
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


def judge(params: GateParams, measured: Measured) -> GateVerdict:
    """Hold what was measured against the conditions."""
    worst = min((score for score in measured.scores if score.num_images), key=lambda score: score.recall, default=None)
    return GateVerdict(
        params=params,
        measured=measured,
        lowest_recall=None if worst is None else worst.recall,
        lowest_recall_class=None if worst is None else worst.label,
        reasons=(
            *_leaks(params, measured.num_leaked),
            *_baselines(params, measured.baselines),
            *_reasons(params, measured.accuracy_low, measured.scores),
        ),
    )


def gate_record(verdict: GateVerdict) -> dict[str, Any]:
    """Flatten a verdict for a report."""
    return {
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "min_accuracy": verdict.params.min_accuracy,
        "accuracy_low": verdict.measured.accuracy_low,
        "max_leaked": verdict.params.max_leaked,
        "num_leaked": verdict.measured.num_leaked,
        "min_recall": verdict.params.min_recall,
        "lowest_recall": None if verdict.lowest_recall is None else round(verdict.lowest_recall, 6),
        "lowest_recall_class": verdict.lowest_recall_class,
        "beat_baselines": verdict.params.beat_baselines,
    }


def _leaks(params: GateParams, num_leaked: int | None) -> Iterator[str]:
    if params.max_leaked is not None and num_leaked is not None and num_leaked > params.max_leaked:
        yield (
            f"{num_leaked} test image{'s have' if num_leaked > 1 else ' has'} a near-duplicate in train or validation, "
            f"more than `evaluate.gate.max_leaked` {params.max_leaked}."
        )


def _baselines(params: GateParams, baselines: BaselineVerdicts) -> Iterator[str]:
    if params.beat_baselines and not baselines.are_beaten:
        figures = format_figures(baselines.hardest)
        yield f"It is not proven better than {figures}, as `evaluate.gate.beat_baselines` asks."


def _reasons(params: GateParams, accuracy_low: float, scores: Sequence[ClassScore]) -> Iterator[str]:
    """A class without test images is refused too: its recall is unknown."""
    asked, least = params.min_accuracy, params.min_recall
    if asked is not None and not accuracy_low >= asked:  # so written, NaN is refused
        yield f"Accuracy may be as low as {accuracy_low:.1%}, below `evaluate.gate.min_accuracy` {asked:.1%}."
    if least is None:
        return
    for score in scores:
        if not score.num_images:
            yield f"The recall of `{score.label}` is unknown: it has no test image."
        elif score.recall < least:
            yield f"The recall of `{score.label}` is {score.recall:.1%}, below `evaluate.gate.min_recall` {least:.1%}."
