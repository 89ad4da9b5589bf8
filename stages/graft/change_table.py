"""What changed, for people: a table for the terminal or in Markdown, with intervals, and the gate's verdict."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stages.graft.changes import Change, Changes

Record = Mapping[str, Any]
Row = tuple[str, str, str, str]

CHANCE = 0.05
"""A p-value above it: chance alone would do that often enough."""


def change_rows(changes: Changes) -> list[Row]:
    """Give a row for each parameter and metric that changed: its name, then, now, and what to think of it."""
    params = [(one.name, _number(one.before), _number(one.after), "") for one in changes.params]
    return params + [_metric_row(one, changes.same_test) for one in changes.metrics]


def as_text(changes: Changes) -> str:
    """Set the table in columns, for the terminal."""
    rows = [("", changes.commit, "now", ""), *change_rows(changes)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    return "\n".join([f"against {changes.commit}, {changes.subject}", "", *lines, "", images_in_words(changes)])


def as_markdown(changes: Changes) -> str:
    """Set the table as Markdown, for a comment on a pull request; no name in it can be taken for markup."""
    rows = [
        ("", changes.commit, "now", ""),
        ("---",) * 4,
        *([plain(cell) for cell in row] for row in change_rows(changes)),
    ]
    table = (
        ["| " + " | ".join(row) + " |" for row in rows] if len(rows) > 2 else ["No parameter and no metric changed."]
    )
    title = f"### Results against {changes.commit}, {plain(changes.subject)}"
    return "\n".join([title, "", *table, "", images_in_words(changes)])


def plain(text: str) -> str:
    """Text that Markdown takes for nothing else: what could mean something becomes a character reference."""
    return re.sub(r"[^\w .,%+\-/=()]", lambda found: f"&#{ord(found[0])};", text)


def images_in_words(changes: Changes) -> str:
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


def gate_in_words(now: Record, then: Record | None) -> str:
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
