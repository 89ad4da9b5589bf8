"""Whether the results at hand are those of the present parameters, by dvc.lock: what is older must not be published."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from stages.graft.core.params import flatten, read_yaml
from stages.graft.maintenance.dvc_lock import LOCK, LockEntry, read_lock_entries
from stages.graft.maintenance.verification import OTHER, Repository, problem_here
from stages.graft.tracking.run_state import ARTIFACTS, MANIFEST, PARAMS, PASSING


def outdated(root: Path) -> str | None:
    """Name the first parameter or published file that is not what dvc.lock says it was when the results were computed.

    Args:
        root: the pipeline's folder.
    Returns:
        What is wrong, in words; None when all is as the results have it.
    Raises:
        DataError: there is no dvc.lock, or it cannot be read.
    """
    claims = read_lock_entries(root)
    return next(chain(_changed_params(root), _changed_files(root, claims)), None)


def _changed_files(root: Path, claims: Iterable[LockEntry]) -> Iterator[str]:
    repository, places = Repository(root), (*ARTIFACTS.values(), MANIFEST)
    for claim in claims:
        if claim.is_out and claim.path.startswith(places) and not claim.path.startswith(PASSING):
            problem = problem_here(claim, repository)
            if problem is not None:
                yield f"`{claim.path}` {problem}" + (" than dvc.lock says" if problem == OTHER else "")


def _changed_params(root: Path) -> Iterator[str]:
    now = flatten(read_yaml(root / PARAMS))
    for stage, entry in read_yaml(root / LOCK)["stages"].items():
        for name, value in entry.get("params", {}).get(PARAMS, {}).items():
            if name not in now or now[name] != value:
                yield f"the results of {stage} are of `{name}` {value!r}, {PARAMS} has {now.get(name)!r}"
