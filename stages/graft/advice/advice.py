"""The advice: whether the model is usable, why, and the next steps; in the same words wherever it is shown."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap

from stages.graft.advice.checks import Check, format_headline, make_checks
from stages.graft.advice.facts import Facts
from stages.graft.advice.next_steps import Step, choose_steps
from stages.graft.core.errors import DataError
from stages.graft.core.markdown import escape_markdown
from stages.graft.storage.files import read_json, write_json

ADVICE = "reports/decision.json"
"""Relative to the pipeline's root."""

LATER = "GRAFT_ADVICE_LATER"
"""Environment variable: the stage prints no advice."""

MARKS = {True: "ok", False: "NO", None: "--"}
"""What the terminal shows for a condition that holds, that does not, and where nothing is asked."""

WIDTH = 100
"""Columns of the terminal that are used."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a person reads first."""

    usable: bool | None
    """Whether the gate holds; None: nothing is asked of the model."""
    headline: str
    """The same in a sentence, with the reasons."""
    checks: tuple[Check, ...]
    """What was found, condition by condition."""
    next_steps: tuple[Step, ...]
    """At most three, the most useful first."""


def give_advice(facts: Facts) -> Advice:
    """Decide by rules whether the model is usable and what to do next."""
    checks = make_checks(facts)
    is_asked = any(check.holds is not None for check in checks)
    return Advice(
        usable=facts.passed if is_asked or not facts.passed else None,
        headline=format_headline(facts, checks),
        checks=checks,
        next_steps=choose_steps(facts),
    )


def write_advice(advice: Advice, root: Path) -> None:
    """Write reports/decision.json."""
    write_json(asdict(advice), root / ADVICE)


def read_advice(root: Path) -> Advice | None:
    """Read the advice on the present results; None when there is none."""
    if not (root / ADVICE).is_file():
        return None
    record = read_json(root / ADVICE)
    try:
        checks = tuple(Check(**check) for check in record["checks"])
        return Advice(**record | {"checks": checks, "next_steps": tuple(Step(**step) for step in record["next_steps"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"{ADVICE} is not of this version ({error}); `dvc repro` makes it again") from None


def print_advice(root: Path) -> None:
    """Print the advice as a run's last lines; under `graft repro`, which sets LATER, that command does it."""
    if LATER not in os.environ and (advice := read_advice(root)):
        print(f"\n{format_advice(advice)}")


def format_advice(advice: Advice) -> str:
    """Format it for the terminal, at most WIDTH columns wide; a command stays in one piece."""
    lines = wrap(advice.headline, WIDTH)
    for check in advice.checks:
        lines += _indented(check.text, f"  {MARKS[check.holds]}  ")
    lines += ["Next:"]
    for number, step in enumerate(advice.next_steps, start=1):
        lines += [*_indented(f"{step.action} {step.reason}", f"  {number}.  "), f"      {step.command}"]
    return "\n".join(lines)


def format_advice_markdown(advice: Advice) -> str:
    """Format it as Markdown; a name cannot become markup."""
    signs = {True: "✓", False: "✗", None: "·"}
    checks = [f"- {signs[check.holds]} {escape_markdown(check.text)}" for check in advice.checks]
    steps = [
        f"{number}. **{escape_markdown(step.action)}** {escape_markdown(step.reason)} `{step.command}`"
        for number, step in enumerate(advice.next_steps, start=1)
    ]
    return "\n".join([f"**{escape_markdown(advice.headline)}**", "", *checks, "", "Next:", "", *steps])


def _indented(text: str, start: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
