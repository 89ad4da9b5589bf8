"""Beside the pipeline, changes: what changed against a commit, for the terminal or a pull request.

Reads   params.yaml, reports/ (metrics.json, predictions.csv, gate.json), and git's copies of them
Run     graft changes [--against origin/main] [--markdown]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from stages.graft.core.errors import DataError, GraftError
from stages.graft.core.git import LAST_COMMIT, ask_git, committed_file
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


def standing() -> str:
    """Say how good the present model is and whether the gate holds."""
    level = float(read_yaml(PARAMS)["evaluate"]["confidence_level"])
    return format_headline(read_json(ROOT / METRICS), level)


def gate(against: str) -> str:
    """Say what the gate says, now and at the commit."""
    then = committed_file(ROOT, GATE, against)
    return format_gate_change(read_json(ROOT / GATE), None if then is None else json.loads(then))


def main(arguments: Sequence[str]) -> None:
    """Print the table, how good the model is and the gate's verdict."""
    parser = argparse.ArgumentParser("graft changes", description="What changed in parameters and results.")
    parser.add_argument(
        "--against", default=LAST_COMMIT, metavar="COMMIT", help="a branch, a tag or a hash (default: the last commit)"
    )
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a comment")
    options = parser.parse_args(arguments)
    if not (ROOT / METRICS).exists():
        raise DataError(f"{METRICS} does not exist: `dvc repro` makes it")
    if ask_git(ROOT, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{options.against}^{{commit}}") is None:
        raise GraftError(f"git knows no commit `{options.against}`; `git fetch` brings what others pushed")
    changes = read_changes(ROOT, options.against)
    table = f"{options.against} holds no results to compare with."
    if changes is not None:
        table = format_markdown(changes) if options.markdown else format_text(changes)
    lines = [standing(), gate(options.against)]
    print("\n".join([table, "", *(map(escape_markdown, lines) if options.markdown else lines)]))
