"""graft changes: what changed against an earlier result, for the terminal or a pull request.

Reads   params.yaml, reports/ (decision.json, metrics.json, predictions.csv, gate.json), and git's copies of them
"""

import json
from pathlib import Path

from stages.graft.advice.advice import format_advice, format_advice_markdown, read_advice
from stages.graft.core.errors import DataError, GraftError
from stages.graft.core.git import LAST_COMMIT, committed_file
from stages.graft.report.changes import format_markdown, format_text, read_changes, read_revision
from stages.graft.report.past_results import METRICS
from stages.graft.storage.files import read_json

ROOT, GATE = Path(), "reports/gate.json"


def print_changes(against: str | None, markdown: bool) -> None:
    """Print whether the model is usable and what to do next, then what changed.

    Args:
        against: a commit; None: the last result on the same test images.
        markdown: for a comment on a pull request.
    Raises:
        DataError: there are no results.
        GraftError: git does not know the commit.
    """
    if not (ROOT / METRICS).exists():
        raise DataError(f"{METRICS} does not exist: `dvc repro` makes it")
    if against is not None and read_revision(ROOT, against) is None:
        raise GraftError(f"git knows no commit `{against}`; `git fetch` brings what others pushed")
    parts = []
    if advice := read_advice(ROOT):
        parts.append(format_advice_markdown(advice) if markdown else format_advice(advice))
    if changes := read_changes(ROOT, against):
        parts.append(format_markdown(changes) if markdown else format_text(changes))
    else:
        where = "There is no earlier result on these test images" if against is None else f"{against} holds no results"
        parts.append(f"{where}: nothing is compared.")
    parts += format_turn(against or LAST_COMMIT)
    print("\n\n".join(parts))


def format_turn(commit: str) -> list[str]:
    """Say whether the gate's verdict is another one than at a commit; nothing when it is the same or unknown."""
    before = committed_file(ROOT, GATE, commit)
    if before is None or not (ROOT / GATE).exists():
        return []
    now, then = read_json(ROOT / GATE)["passed"], json.loads(before)["passed"]
    return [] if now == then else [f"At {commit}, the gate {'held' if then else 'refused the model'}."]
