"""What changed since a commit: parameters, metrics and test images, as text or Markdown."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stages.graft.core.git import LAST_COMMIT, ask_git, committed_file
from stages.graft.core.params import flatten, read_yaml
from stages.graft.metrics.paired_comparison import mcnemar
from stages.graft.report.plot_tables import read_table
from stages.graft.storage.files import read_json

PARAMS, METRICS, PREDICTIONS = "params.yaml", "reports/metrics.json", "reports/predictions.csv"

HIGHER = frozenset(
    ("accuracy", "balanced_accuracy", "macro_f1", "coverage", "selective_accuracy", "novelty_auroc", "strangers_found")
)
"""Metrics of which more is better."""

LOWER = frozenset(("log_loss", "ece", "false_alarms"))
"""Metrics of which less is better; of the others neither is."""

ABSENT = "(not there)"
"""The value of a parameter or metric in a state that does not have it."""

UNLISTED = ("_low", "_high", "_uncalibrated")
"""Endings of metrics that only accompany another."""

MAX_SIGNIFICANT = 0.05
"""Largest p-value of a difference that chance alone does not explain."""

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
    """At the commit, or ABSENT."""
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
class ImageChanges:
    """Test images whose answer became right or wrong."""

    num_shared: int
    """Test images scored before and now."""
    same_test: bool
    """Whether these are all of both."""
    num_gained: int
    """Shared images that are right only now."""
    num_lost: int
    """Shared images that were right only before."""

    @property
    def p_value(self) -> float:
        """McNemar's exact test: how likely chance alone splits the changed images so unevenly or more."""
        return mcnemar(self.num_gained, self.num_lost)

    @property
    def may_be_chance(self) -> bool:
        """Whether chance alone explains the difference."""
        return self.p_value > MAX_SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The present state against a commit."""

    commit: str
    """Its hash, seven digits."""
    subject: str
    """First line of its message."""
    params: tuple[Change, ...]
    """Parameters, in the order of the file."""
    metrics: tuple[Change, ...]
    """Metrics, in the order of the file."""
    images: ImageChanges
    """The answers on test."""


def read_changes(root: Path, against: str = LAST_COMMIT) -> Changes | None:
    """Compare the files with those of a commit.

    Args:
        root: the pipeline's folder.
        against: the commit: a branch, a tag, a hash.
    Returns:
        None without git, without that commit, or when it holds no metrics.
    """
    head = ask_git(root, "log", "-1", "--format=%h%x00%s", "--abbrev=7", "--end-of-options", against, "--")
    params, metrics = committed_file(root, PARAMS, against), committed_file(root, METRICS, against)
    if head is None or params is None or metrics is None:
        return None
    try:
        old_params, old_metrics = flatten(yaml.safe_load(params)), json.loads(metrics)
    except (yaml.YAMLError, ValueError, AttributeError):
        return None  # a commit may hold anything, such as a merge's conflict marks
    commit, subject = head.decode(errors="replace").rstrip("\n").split("\0", 1)
    changed_metrics = _differences(old_metrics, read_json(root / METRICS))
    return Changes(
        commit=commit,
        subject=subject,
        params=_differences(old_params, flatten(read_yaml(root / PARAMS))),
        metrics=tuple(change for change in changed_metrics if not change.name.endswith(UNLISTED)),
        images=_compare_predictions(root, committed_file(root, PREDICTIONS, against)),
    )


def change_rows(changes: Changes) -> list[Row]:
    """Format each change as a row."""
    params = [(change.name, _number(change.before), _number(change.after), "") for change in changes.params]
    return params + [_metric_row(change, changes.images.same_test) for change in changes.metrics]


def format_text(changes: Changes) -> str:
    """Format the changes in columns, for the terminal."""
    rows = [("", changes.commit, "now", ""), *change_rows(changes)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    title = f"against {changes.commit}, {changes.subject}"
    return "\n".join([title, "", *lines, "", format_image_changes(changes.images)])


def format_markdown(changes: Changes) -> str:
    """Format the changes as Markdown, for a comment on a pull request; names are escaped."""
    rows = [[escape_markdown(cell) for cell in row] for row in change_rows(changes)]
    table = ["No parameter and no metric changed."]
    if rows:
        table = [f"| {' | '.join(row)} |" for row in [("", changes.commit, "now", ""), ("---",) * 4, *rows]]
    title = f"### Results against {changes.commit}, {escape_markdown(changes.subject)}"
    return "\n".join([title, "", *table, "", format_image_changes(changes.images)])


def escape_markdown(text: str) -> str:
    """Replace characters that may mean something in Markdown by character references."""
    return re.sub(r"[^\w .,%+\-/=()]", lambda match: f"&#{ord(match[0])};", text)


def format_image_changes(images: ImageChanges) -> str:
    """Describe how many test images became right or wrong, and whether chance alone explains it."""
    if not images.num_shared:
        return "No test image was scored both times."
    scope = "The test images are the same"
    if not images.same_test:
        scope = f"{images.num_shared} test images were scored both times"
    if not images.num_gained and not images.num_lost:
        return f"{scope}: none went from wrong to right or back."
    chance = "chance alone does that easily" if images.may_be_chance else "more than chance alone does"
    return (
        f"{scope}: {images.num_gained} are right only now, {images.num_lost} only then "
        f"(McNemar p = {images.p_value:.2g}: {chance})."
    )


def format_gate_change(now: Record, before: Record | None) -> str:
    """Describe whether the model passes the gate, what it asks, and whether that changed.

    Args:
        now: reports/gate.json.
        before: the same at the commit; None if the commit does not have it.
    """
    changed = before is not None and before["passed"] != now["passed"]
    remark = f" Then it {'refused' if now['passed'] else 'held'}." if changed else ""
    if not now["passed"]:
        return f"The gate refuses this model. {' '.join(now['reasons'])}{remark}"
    limits = (
        ("the lower end of the accuracy's interval is", now["accuracy_low"], now["min_accuracy"]),
        ("the lowest recall of a class is", now["lowest_recall"], now["min_recall"]),
    )
    asked = [
        f"{name} {value:.1%} ({minimum:.1%} asked)"
        for name, value, minimum in limits
        if value is not None and minimum is not None
    ]
    return (f"The gate holds: {', '.join(asked)}." if asked else "The gate asks for nothing.") + remark


def _differences(before: Record, after: Record) -> tuple[Change, ...]:
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


def _compare_predictions(root: Path, old_table: bytes | None) -> ImageChanges:
    columns = ["id", "label", "predicted"]
    now = old = pd.DataFrame(columns=columns)
    if old_table is not None and (root / PREDICTIONS).exists():
        now = read_table(root / PREDICTIONS)
        old = pd.read_csv(
            io.BytesIO(old_table), dtype=str, keep_default_na=False, lineterminator="\n", encoding_errors="replace"
        )
    if not set(columns) <= set(old.columns):
        old = pd.DataFrame(columns=columns)
    both = now[columns].merge(old[columns], on="id", suffixes=("", "_old"))
    right, was_right = both["label"] == both["predicted"], both["label_old"] == both["predicted_old"]
    return ImageChanges(
        num_shared=len(both),
        same_test=0 < len(both) == len(now) == len(old),
        num_gained=int((right & ~was_right).sum()),
        num_lost=int((was_right & ~right).sum()),
    )


def _metric_row(change: Change, same_test: bool) -> Row:
    """On other test images, a difference does not mean better or worse."""
    remarks = [] if change.better is None or not same_test else ["better" if change.better else "worse"]
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
