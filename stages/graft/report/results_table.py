"""A table of the present result, earlier commits and experiments, in one block for each set of test images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from stages.graft.report.past_results import Result, list_revisions, read_past, read_present

WIDTH = 100
"""Columns of the terminal that are used."""

MAX_NAME = 34
"""Longest name of a result that is shown in full."""

NOW = "now"
"""The name of the present result."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result."""

    name: str
    """An experiment, a commit, or NOW."""
    result: Result
    """What it is and what came out."""

    @property
    def test_set(self) -> str:
        """Names its test images: the same for the same images in any order."""
        return hashlib.sha256("".join(sorted(self.result.predictions)).encode()).hexdigest()[:6]


def list_results(root: Path, num: int) -> list[Row]:
    """List the present result and earlier ones, the newest first; of those that are one state, only the newest.

    Args:
        root: the pipeline's folder.
        num: commits, and experiments, that are looked at, at most.
    Raises:
        DataError: there is no present result.
    """
    rows = [Row(name=NOW, result=read_present(root))]
    for revision in list_revisions(root, num):
        past = read_past(root, revision.commit)
        if past is not None and past.predictions and not any(past.is_same(row.result) for row in rows):
            rows.append(Row(name=revision.name, result=past))
    return rows


def format_results(rows: Sequence[Row]) -> str:
    """Format the results in one block for each set of test images: accuracies on other images are not comparable.

    The present block comes first; in a block, the most accurate result.
    """
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        blocks.setdefault(row.test_set, []).append(row)
    return "\n\n".join(_format_block(block) for block in blocks.values())


def _format_block(rows: list[Row]) -> str:
    """Show the results on one set of images, the newest first as given."""
    newest, names = rows[0], {row.name: shorten(row.name, MAX_NAME, placeholder=" …") for row in rows}
    width = max(map(len, (*names.values(), "result")))
    head = f"  {'result':{width}}  accuracy  interval          balanced  "
    lines = [
        f"{newest.result.source or 'images'}, {len(newest.result.predictions):,} test images (set {newest.test_set})",
        head + shorten(f"changed against {newest.name}", WIDTH - len(head), placeholder=" …"),
    ]
    for row in sorted(rows, key=lambda row: -row.result.metrics["accuracy"]):  # of equals, the newest
        params = ", ".join(f"{name}={value}" for name, value in row.result.differing(newest.result).items())
        start = f"  {names[row.name]:{width}}  {_format_numbers(row.result.metrics)}  "
        lines.append(start + shorten(params, WIDTH - len(start), placeholder=" …"))
    return "\n".join(line.rstrip() for line in lines)


def _format_numbers(metrics: Mapping[str, Any]) -> str:
    """Accuracy, its interval and balanced accuracy, as wide as their titles."""
    interval = f"{metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}"
    return f"{metrics['accuracy']:8.1%}  {interval:16}  {metrics['balanced_accuracy']:8.1%}"
