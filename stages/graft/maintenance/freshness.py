"""Freshness: are the results those of the current parameters, by dvc.lock? Older ones must not be published."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from stages.graft.core.params import flatten, read_yaml
from stages.graft.maintenance.dvc_lock import LOCK, LockEntry, read_lock_entries
from stages.graft.maintenance.verification import CHANGED, Repository, workspace_problem
from stages.graft.tracking.run_state import PARAMS, PUBLISHED


def outdated(root: Path) -> str | None:
    """Name the first parameter or published file that has changed since the results were computed; None when none has.

    Raises:
        DataError: there is no dvc.lock, or it cannot be read.
    """
    entries = read_lock_entries(root)  # now, since the parameters are read from the same file without checks
    return next(chain(_changed_params(root), _changed_files(root, entries)), None)


def _changed_files(root: Path, entries: Iterable[LockEntry]) -> Iterator[str]:
    repository = Repository(root)
    for entry in entries:
        is_published = entry.is_out and entry.path.startswith(PUBLISHED)
        if is_published and (problem := workspace_problem(entry, repository)):
            yield f"`{entry.path}` {problem}" + (" than dvc.lock says" if problem == CHANGED else "")


def _changed_params(root: Path) -> Iterator[str]:
    params = flatten(read_yaml(root / PARAMS))
    for stage, entry in read_yaml(root / LOCK)["stages"].items():
        for name, value in entry.get("params", {}).get(PARAMS, {}).items():
            if name not in params or params[name] != value:
                yield f"the results of {stage} are of `{name}` {value!r}, {PARAMS} has {params.get(name)!r}"
