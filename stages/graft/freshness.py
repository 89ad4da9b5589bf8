"""Whether the results at hand are those of the present parameters, by dvc.lock: what is older must not be published."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from stages.graft.dvc_files import Hasher, tree_md5
from stages.graft.lock_claims import LOCK, read_claims
from stages.graft.params import read_yaml
from stages.graft.run_state import ARTIFACTS, MANIFEST, PARAMS, PASSING, flatten


def outdated(root: Path) -> str | None:
    """Name the first parameter or published file that is not what dvc.lock says it was when the results were computed.

    Args:
        root: the pipeline's folder.
    Returns:
        What is wrong, in words; None when all is as the results have it.
    Raises:
        DataError: there is no dvc.lock, or it cannot be read.
    """
    read_claims(root)
    return next(chain(_changed_params(root), _changed_files(root)), None)


def _changed_files(root: Path) -> Iterator[str]:
    places, hasher = (*ARTIFACTS.values(), MANIFEST), Hasher()
    for one in read_claims(root):
        if one.is_out and one.path.startswith(places) and not one.path.startswith(PASSING):
            path = root / one.path
            found = tree_md5(hasher.tree(path)) if one.is_folder else hasher.md5(path)
            if found != one.md5:
                yield f"`{one.path}`: {'its bytes are not the ones dvc.lock names' if path.exists() else 'missing'}"


def _changed_params(root: Path) -> Iterator[str]:
    now = flatten(read_yaml(root / PARAMS))
    for stage, entry in read_yaml(root / LOCK)["stages"].items():
        for name, value in entry.get("params", {}).get(PARAMS, {}).items():
            if name not in now or now[name] != value:
                yield f"the results of {stage} are of `{name}` {value!r}, {PARAMS} has {now.get(name)!r}"
