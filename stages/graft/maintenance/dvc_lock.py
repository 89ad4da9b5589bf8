"""Entries of dvc.lock: every output and dependency with its MD5 and its stage.

They come from dvc.lock and dvc.yaml only; no stage is known by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.params import read_yaml

LOCK, PIPELINE = Path("dvc.lock"), Path("dvc.yaml")

FOLDER = ".dir"
"""End of a folder's hash."""


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """An output or dependency in dvc.lock."""

    stage: str
    """Name of its stage; for a dependency of several stages, the first."""
    path: str
    """Path from the repository's root, as in dvc.lock."""
    md5: str
    """MD5 of the file, hex; for a folder, of the list of its files, with `.dir` after it."""
    is_out: bool
    """True for an output; False for a dependency that no stage makes."""
    is_cached: bool
    """True for an output that DVC keeps in its cache; False for what git or the user keeps."""

    @property
    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        return self.md5.endswith(FOLDER)


def read_lock_entries(root: Path) -> list[LockEntry]:
    """Read all entries in the order of dvc.lock, each path once; addresses, which have no MD5, are left out.

    Raises:
        DataError: there is no dvc.lock, it is incomplete, or it has a merge conflict.
    """
    stages = _read_lock(root)
    uncached = _uncached(root)
    outs = {
        entry["path"]: LockEntry(stage=name, path=entry["path"], md5=entry["md5"], is_out=True,
                             is_cached=entry["path"] not in uncached)
        for name, stage in stages.items() for entry in stage.get("outs", []) if "md5" in entry
    }  # fmt: skip
    deps = {
        entry["path"]: LockEntry(stage=name, path=entry["path"], md5=entry["md5"], is_out=False, is_cached=False)
        for name, stage in reversed(stages.items())
        for entry in stage.get("deps", [])
        if "md5" in entry and not any(Path(entry["path"]).is_relative_to(out) for out in outs)
    }
    return [*outs.values(), *reversed(deps.values())]


def _read_lock(root: Path) -> dict[str, Mapping[str, Any]]:
    path = root / LOCK
    if not path.is_file():
        raise DataError(f"{path} does not exist; `dvc repro` makes it, in the repository's root")
    if any(line.startswith(b"<<<<<<< ") for line in path.read_bytes().splitlines()):
        raise DataError(f"{path} holds a merge conflict; after `git checkout HEAD -- {path}`, `dvc repro` goes on")
    try:
        stages: dict[str, Mapping[str, Any]] = read_yaml(path).get("stages") or {}
    except ParamsError as error:
        raise DataError(f"{error}; it was cut short") from None
    if not stages:
        raise DataError(f"{path} names no stage; it was cut short, or `dvc repro` has not run yet")
    return stages


def _uncached(root: Path) -> set[str]:
    """Outputs that dvc.yaml keeps out of DVC's cache."""
    if not (root / PIPELINE).is_file():
        return set()
    stages: Mapping[str, Mapping[str, Sequence[Any]]] = read_yaml(root / PIPELINE).get("stages") or {}
    kinds = [stage.get(kind) or () for stage in stages.values() for kind in ("outs", "metrics", "plots")]
    entries = [entry for kind in kinds for entry in kind if isinstance(entry, Mapping)]
    return {path for entry in entries for path, options in entry.items() if (options or {}).get("cache") is False}
