"""Results of other states: of commits and of DVC's experiments, read from git without checking anything out."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.graft.core.git import ask_git, committed_file
from stages.graft.core.params import flatten, parse_yaml, read_yaml
from stages.graft.metrics.answer_changes import AnswerChanges, Predictions, compare_answers, parse_predictions
from stages.graft.storage.files import read_json

PARAMS, METRICS, PREDICTIONS = "params.yaml", "reports/metrics.json", "reports/predictions.csv"

NUMBERS = frozenset(("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy"))
"""Metrics that a result has."""

EXPERIMENTS = "refs/exps"
"""Where DVC keeps experiments: refs/exps/<two digits>/<38 digits of the commit they start from>/<name>."""

OUTSIDE = ("compute.", "tracking.", "report.")
"""Sections of params.yaml that change no result."""

NUM_SEARCHED = 20
"""Latest commits with other results, and latest experiments, among which an earlier result is looked for."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A state that git knows."""

    commit: str
    """Hash of the commit that holds it."""
    name: str
    """An experiment's name, or a commit's first seven digits and subject."""
    is_experiment: bool
    """Whether it is one of DVC's."""
    time: int
    """Seconds since 1970."""

    @property
    def title(self) -> str:
        """For sentences."""
        return f"{'experiment' if self.is_experiment else 'commit'} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a state is and what came out."""

    params: Mapping[str, Any]
    """Every parameter by `section.key`."""
    metrics: Mapping[str, Any]
    """reports/metrics.json."""
    predictions: Predictions
    """On its test images."""

    @property
    def source(self) -> str:
        """Where its images come from."""
        return str(self.params.get("ingest.source", ""))

    def differing(self, other: "Result") -> dict[str, Any]:
        """Give the parameters of this result that the other has with another value and that can change a result."""
        return {
            name: value
            for name, value in self.params.items()
            if name in other.params and value != other.params[name] and not name.startswith(OUTSIDE)
        }

    def is_same(self, other: "Result") -> bool:
        """Whether both are one state: no parameter that matters differs, and no answer."""
        return not self.differing(other) and self.predictions == other.predictions


def read_present(root: Path) -> Result:
    """Read the result in the files.

    Raises:
        DataError, ParamsError: a file is missing or cannot be read.
    """
    table, predictions = root / PREDICTIONS, {}
    if table.exists():
        with table.open(newline="", encoding="utf-8") as lines:
            predictions = dict(parse_predictions(lines))
    return Result(params=flatten(read_yaml(root / PARAMS)), metrics=read_json(root / METRICS), predictions=predictions)


def read_past(root: Path, commit: str) -> Result | None:
    """Read the result that a commit holds; None when there is none, or none that can be read."""
    params, metrics = committed_file(root, PARAMS, commit), committed_file(root, METRICS, commit)
    if params is None or metrics is None:
        return None
    try:
        values, numbers = flatten(parse_yaml(params)), json.loads(metrics)
    except (yaml.YAMLError, ValueError, AttributeError):
        return None  # a commit may hold anything, such as a merge's conflict marks
    if not isinstance(numbers, dict) or not numbers.keys() >= NUMBERS:
        return None
    table = (committed_file(root, PREDICTIONS, commit) or b"").decode(errors="replace")
    predictions = parse_predictions(io.StringIO(table, newline=""))
    return Result(params=values, metrics=numbers, predictions=predictions)


def list_revisions(root: Path, num: int = NUM_SEARCHED) -> list[Revision]:
    """List the latest commits that changed results or parameters, and the latest experiments, the newest first."""
    found = [*_commits(root, num), *_experiments(root, num)]
    return sorted(found, key=lambda revision: -revision.time)


def find_last(root: Path, now: Result) -> tuple[Revision, Result, AnswerChanges] | None:
    """Find the last result on the same test images that is not that of now; None when there is none."""
    for revision in list_revisions(root):
        past = read_past(root, revision.commit)
        if past is None or past.is_same(now):
            continue
        answers = compare_answers(past.predictions, now.predictions)
        if answers.same_data:
            return revision, past, answers
    return None


def _commits(root: Path, num: int) -> Iterator[Revision]:
    arguments = ("log", f"--max-count={num}", "--abbrev=7", "--format=%H%x00%h %s%x00%ct", "HEAD", "--")
    listed = ask_git(root, *arguments, PARAMS, METRICS, PREDICTIONS) or b""
    for line in listed.decode(errors="replace").splitlines():
        commit, name, time = line.split("\0")
        yield Revision(commit=commit, name=name, is_experiment=False, time=int(time))


def _experiments(root: Path, num: int) -> Iterator[Revision]:
    form = "--format=%(objectname)%00%(refname)%00%(committerdate:unix)"
    listed = ask_git(root, "for-each-ref", "--sort=-committerdate", form, EXPERIMENTS) or b""
    pattern = re.compile(rf"{EXPERIMENTS}/[0-9a-f]{{2}}/[0-9a-f]{{38}}/(.+)")
    rows = [line.split("\0") for line in listed.decode(errors="replace").splitlines()]
    known = [(commit, match[1], int(time)) for commit, ref, time in rows if (match := pattern.fullmatch(ref))]
    for commit, name, time in known[:num]:
        yield Revision(commit=commit, name=name, is_experiment=True, time=time)
