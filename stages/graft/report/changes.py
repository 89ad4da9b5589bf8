"""What changed since an earlier result: parameters, metrics and test images, as text or Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.graft.core.git import ask_git
from stages.graft.core.markdown import escape_markdown
from stages.graft.metrics.answer_changes import AnswerChanges, compare_answers
from stages.graft.report.past_results import Result, Revision, find_last, read_past, read_present

HIGHER = frozenset(
    ("accuracy", "balanced_accuracy", "macro_f1", "coverage", "selective_accuracy", "unseen_auroc", "unseen_found")
)
"""Metrics of which more is better."""

LOWER = frozenset(("log_loss", "ece", "false_alarms"))
"""Metrics of which less is better; of the others neither is."""

ABSENT = "(not there)"
"""The value of a parameter or metric in a state that does not have it."""

UNLISTED = ("_low", "_high", "_uncalibrated")
"""Endings of metrics that only accompany another."""

Record = Mapping[str, Any]
Interval = tuple[float, float]
Row = tuple[str, str, str, str]
"""Name, value before, value after, remark."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A parameter or a metric with another value than before."""

    name: str
    """Of a parameter with its section."""
    before: Any
    """In the earlier result, or ABSENT."""
    after: Any
    """Now, or ABSENT."""
    before_interval: Interval | None = None
    """Of a metric that has one."""
    after_interval: Interval | None = None
    """The same, now."""

    @property
    def better(self) -> bool | None:
        """Whether a metric became better; None if that cannot be told."""
        are_numbers = all(isinstance(value, int | float) for value in (self.before, self.after))
        if not are_numbers or self.name not in HIGHER | LOWER:
            return None
        return bool((self.after > self.before) == (self.name in HIGHER))


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The present result against an earlier one."""

    title: str
    """Names the earlier one: an experiment or a commit."""
    params: tuple[Change, ...]
    """Parameters, in the order of the file."""
    metrics: tuple[Change, ...]
    """Metrics, in the order of the file; none when the test images are not the same."""
    answers: AnswerChanges
    """On the test images of both."""


def read_changes(root: Path, against: str | None = None) -> Changes | None:
    """Compare the files with an earlier result.

    Args:
        root: the pipeline's folder.
        against: a branch, a tag, a hash or an experiment's name; None: the last result on the same test images.
    Returns:
        None without such a result.
    """
    now = read_present(root)
    if against is None:
        found = find_last(root, now)
        return None if found is None else _changes(found[0].title, found[1], now, found[2])
    revision, past = read_revision(root, against), read_past(root, against)
    if revision is None or past is None:
        return None
    return _changes(revision.title, past, now, compare_answers(past.predictions, now.predictions))


def read_revision(root: Path, name: str) -> Revision | None:
    """Look a commit up; None when git does not know it."""
    line = ask_git(root, "log", "-1", "--format=%H%x00%h %s%x00%ct", "--abbrev=7", "--end-of-options", name, "--")
    if line is None:
        return None
    commit, title, time = line.decode(errors="replace").rstrip("\n").split("\0")
    return Revision(commit=commit, name=title, is_experiment=False, time=int(time))


def change_rows(changes: Changes) -> list[Row]:
    """Format each change as a row."""
    params = [(change.name, _number(change.before), _number(change.after), "") for change in changes.params]
    return params + [_metric_row(change) for change in changes.metrics]


def format_text(changes: Changes) -> str:
    """Format the changes in columns, for the terminal."""
    rows = [("", "then", "now", ""), *change_rows(changes)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    return "\n".join([f"against {changes.title}", "", *lines, "", format_answers(changes.answers)])


def format_markdown(changes: Changes) -> str:
    """Format the changes as Markdown, for a comment on a pull request; names are escaped."""
    rows = [[escape_markdown(cell) for cell in row] for row in change_rows(changes)]
    table = ["No parameter and no metric changed."]
    if rows:
        table = [f"| {' | '.join(row)} |" for row in [("", "then", "now", ""), ("---",) * 4, *rows]]
    title = f"### Results against {escape_markdown(changes.title)}"
    return "\n".join([title, "", *table, "", format_answers(changes.answers)])


def format_answers(answers: AnswerChanges) -> str:
    """Describe how many test images became right or wrong, and whether chance alone explains it."""
    if not answers.same_data:
        return (
            f"It was tested on other images ({answers.num_shared:,} of its {answers.num_before:,} are among the "
            f"{answers.num_now:,} of now): the results are not compared."
        )
    scope = f"On the same {answers.num_now:,} test images"
    if not answers.same_test:
        scope = f"On the {answers.num_shared:,} test images that both were tested on"
    if not answers.gained and not answers.lost:
        return f"{scope}, none went from wrong to right or back."
    chance = "chance alone does that easily" if answers.may_be_chance else "more than chance alone does"
    return (
        f"{scope}, accuracy went from {answers.accuracy_before:.1%} to {answers.accuracy:.1%}: {len(answers.gained):,} "
        f"right only now, {len(answers.lost):,} only then (McNemar p = {answers.p_value:.2g}: {chance})."
    )


def _changes(title: str, past: Result, now: Result, answers: AnswerChanges) -> Changes:
    metrics = differences(past.metrics, now.metrics) if answers.same_test else ()
    return Changes(
        title=title,
        params=differences(past.params, now.params),
        metrics=tuple(change for change in metrics if not change.name.endswith(UNLISTED)),
        answers=answers,
    )


def differences(before: Record, after: Record) -> tuple[Change, ...]:
    """List the values that differ, in the order of the later record."""
    return tuple(
        Change(
            name=name,
            before=before.get(name, ABSENT),
            after=after.get(name, ABSENT),
            before_interval=_interval(before, name),
            after_interval=_interval(after, name),
        )
        for name in dict.fromkeys([*after, *before])
        if before.get(name, ABSENT) != after.get(name, ABSENT)
    )


def _interval(values: Record, name: str) -> Interval | None:
    low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
    return None if low is None or high is None else (low, high)


def _metric_row(change: Change) -> Row:
    remarks = [] if change.better is None else ["better" if change.better else "worse"]
    if change.before_interval and change.after_interval:
        (low, high), (now_low, now_high) = change.before_interval, change.after_interval
        remarks.append("intervals overlap" if now_low <= high and low <= now_high else "intervals apart")
    before = _with_interval(change.before, change.before_interval)
    return change.name, before, _with_interval(change.after, change.after_interval), ", ".join(remarks)


def _with_interval(value: Any, interval: Interval | None) -> str:
    return _number(value) + (f" [{_number(interval[0])}, {_number(interval[1])}]" if interval else "")


def _number(value: Any) -> str:
    """Format a float with four significant digits, a whole number in full, and anything else on one line."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return " ".join(str(int(value) if isinstance(value, float) else value).split())
