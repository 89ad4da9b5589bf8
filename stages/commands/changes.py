"""graft changes: what changed against a commit, for the terminal or a pull request.

Reads   params.yaml, reports/ (metrics.json, predictions.csv, gate.json), and git's copies of them
"""

import json
from pathlib import Path

from stages.graft.core.errors import DataError, GraftError
from stages.graft.core.git import ask_git, committed_file
from stages.graft.core.params import read_yaml
from stages.graft.report.commit_diff import (
    METRICS,
    escape_markdown,
    format_gate_change,
    format_markdown,
    format_text,
    read_changes,
)
from stages.graft.report.headline import format_headline
from stages.graft.storage.files import read_json

ROOT, PARAMS, GATE = Path(), Path("params.yaml"), "reports/gate.json"


def print_changes(against: str, markdown: bool) -> None:
    """Print the table of changes, how good the model is, and the gate's verdict.

    Raises:
        DataError: there are no results.
        GraftError: git does not know the commit.
    """
    if not (ROOT / METRICS).exists():
        raise DataError(f"{METRICS} does not exist: `dvc repro` makes it")
    if ask_git(ROOT, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{against}^{{commit}}") is None:
        raise GraftError(f"git knows no commit `{against}`; `git fetch` brings what others pushed")
    changes = read_changes(ROOT, against)
    table = f"{against} holds no results to compare with."
    if changes is not None:
        table = format_markdown(changes) if markdown else format_text(changes)
    level, old_gate = read_yaml(PARAMS)["evaluate"]["confidence_level"], committed_file(ROOT, GATE, against)
    lines = [
        format_headline(read_json(ROOT / METRICS), float(level)),
        format_gate_change(read_json(ROOT / GATE), None if old_gate is None else json.loads(old_gate)),
    ]
    print("\n".join([table, "", *(map(escape_markdown, lines) if markdown else lines)]))
