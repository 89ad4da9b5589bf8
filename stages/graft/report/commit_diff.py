"""What changed since a commit: parameters, metrics, and test images that are now right or no longer."""

import io
import json
import re
from collections.abc import Mapping, Sequence
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
"""Stands for the value of a parameter or metric that one of the two states does not have."""

UNLISTED = ("_low", "_high", "_uncalibrated")
"""Endings of metrics that only accompany another."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A parameter or a metric that is not what it was."""

    name: str
    """Of a parameter with its section."""
    before: Any
    """At the commit, or ABSENT."""
    after: Any
    """Now, or ABSENT."""
    before_interval: tuple[float, float] | None = None
    """Of a metric that has one."""
    after_interval: tuple[float, float] | None = None
    """The same, now."""

    @property
    def better(self) -> bool | None:
        """Whether a metric became better; None where that cannot be said."""
        numbers = all(isinstance(value, int | float) for value in (self.before, self.after))
        if not numbers or self.name not in HIGHER | LOWER:
            return None
        return bool((self.after > self.before) == (self.name in HIGHER))


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
    num_shared: int
    """Test images scored then and now."""
    same_test: bool
    """Whether these are all of both."""
    num_gained: int
    """Of the shared ones, those that only now are right."""
    num_lost: int
    """Of the shared ones, those that only then were right."""

    @property
    def p_value(self) -> float:
        """How likely chance alone splits the changed images so unevenly or more: McNemar's exact test."""
        return mcnemar(self.num_gained, self.num_lost)


def read_changes(root: Path, against: str = LAST_COMMIT) -> Changes | None:
    """Compare the files with those of a commit.

    Args:
        root: the pipeline's folder.
        against: the commit, however git can be told: a branch, a tag, a hash.
    Returns:
        None without git, without that commit, or when it holds no metrics.
    """
    head = ask_git(root, "log", "-1", "--format=%h%x00%s", "--abbrev=7", "--end-of-options", against, "--")
    params, metrics = committed_file(root, PARAMS, against), committed_file(root, METRICS, against)
    if head is None or params is None or metrics is None:
        return None
    try:
        before = flatten(yaml.safe_load(params)), json.loads(metrics)
    except (yaml.YAMLError, ValueError, AttributeError):
        return None  # a commit may hold anything, a merge's conflict marks, say
    num_shared, same, gained, lost = _compare_predictions(root, committed_file(root, PREDICTIONS, against))
    commit, subject = head.decode(errors="replace").rstrip("\n").split("\0", 1)
    return Changes(
        commit=commit,
        subject=subject,
        params=_differences(before[0], flatten(read_yaml(root / PARAMS))),
        metrics=tuple(
            one for one in _differences(before[1], read_json(root / METRICS)) if not one.name.endswith(UNLISTED)
        ),
        num_shared=num_shared,
        same_test=same,
        num_gained=gained,
        num_lost=lost,
    )


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = [*after, *(name for name in before if name not in after)]
    changes = (
        Change(
            name=name,
            before=before.get(name, ABSENT),
            after=after.get(name, ABSENT),
            before_interval=_interval(before, name),
            after_interval=_interval(after, name),
        )
        for name in names
    )
    return tuple(one for one in changes if one.before != one.after)


def _interval(values: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
    return None if low is None or high is None else (low, high)


def _compare_predictions(root: Path, before: bytes | None) -> tuple[int, bool, int, int]:
    """Number of shared test images, whether these are all, and how many of them were gained and lost."""
    if before is None or not (root / PREDICTIONS).exists():
        return 0, False, 0, 0
    then = pd.read_csv(
        io.BytesIO(before), dtype=str, keep_default_na=False, lineterminator="\n", encoding_errors="replace"
    )
    now = read_table(root / PREDICTIONS)
    if not {"id", "label", "predicted"} <= set(then.columns):
        return 0, False, 0, 0
    both = now[["id", "label", "predicted"]].merge(then[["id", "label", "predicted"]], on="id", suffixes=("", "_then"))
    right, was_right = both["label"] == both["predicted"], both["label_then"] == both["predicted_then"]
    same = len(both) == len(now) == len(then)
    return len(both), same, int((right & ~was_right).sum()), int((was_right & ~right).sum())


Record = Mapping[str, Any]
Row = tuple[str, str, str, str]

CHANCE = 0.05
"""A p-value above it: chance alone would do that often enough."""


def change_rows(changes: Changes) -> list[Row]:
    """Give a row for each parameter and metric that changed: its name, then, now, and what to think of it."""
    params = [(one.name, _number(one.before), _number(one.after), "") for one in changes.params]
    return params + [_metric_row(one, changes.same_test) for one in changes.metrics]


def format_text(changes: Changes) -> str:
    """Set the table in columns, for the terminal."""
    rows = [("", changes.commit, "now", ""), *change_rows(changes)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    return "\n".join([f"against {changes.commit}, {changes.subject}", "", *lines, "", format_image_changes(changes)])


def format_markdown(changes: Changes) -> str:
    """Set the table as Markdown, for a comment on a pull request; no name in it can be taken for markup."""
    rows = [
        ("", changes.commit, "now", ""),
        ("---",) * 4,
        *([escape_markdown(cell) for cell in row] for row in change_rows(changes)),
    ]
    table = (
        ["| " + " | ".join(row) + " |" for row in rows] if len(rows) > 2 else ["No parameter and no metric changed."]
    )
    title = f"### Results against {changes.commit}, {escape_markdown(changes.subject)}"
    return "\n".join([title, "", *table, "", format_image_changes(changes)])


def escape_markdown(text: str) -> str:
    """Text that Markdown takes for nothing else: what could mean something becomes a character reference."""
    return re.sub(r"[^\w .,%+\-/=()]", lambda found: f"&#{ord(found[0])};", text)


def format_image_changes(changes: Changes) -> str:
    """Say which test images changed sides, and whether chance alone does that."""
    if not changes.num_shared:
        return "No test image was scored both times."
    which = (
        "The test images are the same"
        if changes.same_test
        else f"{changes.num_shared} test images were scored both times"
    )
    if not changes.num_gained and not changes.num_lost:
        return f"{which}: none went from wrong to right or back."
    chance = "chance alone does that easily" if changes.p_value > CHANCE else "more than chance alone does"
    return (
        f"{which}: {changes.num_gained} are right only now, {changes.num_lost} only then "
        f"(McNemar p = {changes.p_value:.2g}: {chance})."
    )


def format_gate_change(now: Record, then: Record | None) -> str:
    """Say whether the gate holds, by what it asks, and whether it did before.

    Args:
        now: reports/gate.json.
        then: the same at the commit; None where it was not there.
    """
    changed = then is not None and then["passed"] != now["passed"]
    before = f" Then it {'refused' if now['passed'] else 'held'}." if changed else ""
    if not now["passed"]:
        return f"The gate refuses this model. {' '.join(now['reasons'])}{before}"
    asked = [*_shown("the lower end of the accuracy's interval is", now["accuracy_low"], now["min_accuracy"])]
    asked += _shown("the lowest recall of a class is", now["lowest_recall"], now["min_recall"])
    return (f"The gate holds: {', '.join(asked)}." if asked else "The gate asks for nothing.") + before


def _shown(what: str, found: float | None, asked: float | None) -> Sequence[str]:
    return [] if asked is None or found is None else [f"{what} {found:.1%} ({asked:.1%} asked)"]


def _metric_row(one: Change, same_test: bool) -> Row:
    """On other test images, a difference says nothing about better or worse."""
    words = [] if one.better is None or not same_test else ["better" if one.better else "worse"]
    if one.before_interval and one.after_interval:
        (low, high), (now_low, now_high) = one.before_interval, one.after_interval
        words.append("intervals overlap" if now_low <= high and low <= now_high else "intervals apart")
    before, after = _with_interval(one.before, one.before_interval), _with_interval(one.after, one.after_interval)
    return one.name, before, after, ", ".join(words)


def _with_interval(value: Any, interval: tuple[float, float] | None) -> str:
    return _number(value) + (f" [{_number(interval[0])}, {_number(interval[1])}]" if interval else "")


def _number(value: Any) -> str:
    """At most four significant digits, whole numbers in full; what is no number on one line as it is."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return " ".join(str(int(value) if isinstance(value, float) else value).split())
