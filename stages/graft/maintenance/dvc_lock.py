"""Entries of dvc.lock: every output and dependency with its MD5 and its stage.

They come from dvc.lock and dvc.yaml only; no stage is known by name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.graft.core.errors import DataError, one_line, printable
from stages.graft.core.git import committed_file
from stages.graft.core.params import read_yaml
from stages.graft.storage.files import write_text

LOCK, PIPELINE = Path("dvc.lock"), Path("dvc.yaml")

CONFLICT = "holds a merge conflict"

EMPTY = "names no stage: `dvc repro` has not run yet"

REPAIR = "`graft repro` repairs it, or makes it again"
"""Advice for a lock that was cut short."""

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
        for name, stage in stages.items() for entry in stage.get("outs") or () if "md5" in entry
    }  # fmt: skip
    deps = {
        entry["path"]: LockEntry(stage=name, path=entry["path"], md5=entry["md5"], is_out=False, is_cached=False)
        for name, stage in reversed(stages.items())
        for entry in stage.get("deps") or ()
        if "md5" in entry and not any(Path(entry["path"]).is_relative_to(out) for out in outs)
    }
    return [*outs.values(), *reversed(deps.values())]


def _read_lock(root: Path) -> dict[str, Mapping[str, Any]]:
    path = root / LOCK
    if not path.is_file():
        raise DataError(f"{path} does not exist; `dvc repro` makes it, in the repository's root")
    if (problem := lock_problem(root)) is not None:
        cure = "after `git checkout HEAD -- dvc.lock`, `dvc repro` goes on" if problem == CONFLICT else REPAIR
        raise DataError(f"{path} {problem}; {cure}")
    stages: dict[str, Mapping[str, Any]] = read_yaml(path)["stages"]
    return stages


def _is_whole(stage: object) -> bool:
    """Tell whether the entry of a stage has a command, and a path and a whole hash for every file."""
    if not isinstance(stage, Mapping) or not stage.get("cmd"):
        return False
    files = [*(stage.get("deps") or ()), *(stage.get("outs") or ())]
    return all(
        isinstance(file, Mapping)
        and isinstance(file.get("path"), str)
        and _MD5.fullmatch(str(file.get("md5", "0" * 32)))
        for file in files
    )


_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


_STAGE = re.compile(r"^  \S", re.MULTILINE)
"""The line that begins the entry of a stage."""


def repair_lock(root: Path) -> str | None:
    """Take out of a dvc.lock that was cut short what is not complete, and say what was done; None: nothing.

    DVC writes the file in place, which a full disk interrupts. What is taken out runs again, or comes from DVC's cache
    of runs. A merge conflict stays.
    """
    path = root / LOCK
    if not path.is_file() or lock_problem(root) in (None, CONFLICT, EMPTY):
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    starts = [match.start() for match in _STAGE.finditer(text)]
    whole = next((text[:start] for start in reversed(starts) if _problem(text[:start]) is None), None)
    committed = (committed_file(root, str(LOCK)) or b"").decode(errors="replace")
    if whole is None and _problem(committed) is None:
        write_text(committed, path)
        return f"{path} was cut short at its beginning: it is again as in the last commit"
    if whole is None:
        path.unlink()
        return f"{path} was cut short at its beginning: removed, all stages run again"
    write_text(whole, path)
    return f"{path} was cut short: the stages at its end run again"


def lock_problem(root: Path) -> str | None:
    """Say why dvc.lock cannot be read; None when it can."""
    path = root / LOCK
    return _problem(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else "does not exist"


def _problem(text: str) -> str | None:
    """Say what is wrong with the content of dvc.lock; None when nothing is."""
    if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
        return CONFLICT
    try:
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        return f"was cut short, or is not YAML: {one_line(error)}"
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        return "was cut short: it has no stages"
    if not stages:
        return EMPTY
    bad = [name for name, stage in stages.items() if not _is_whole(stage)]
    return f"was cut short: its entry of {printable(str(bad[0]))} is not complete" if bad else None


def _uncached(root: Path) -> set[str]:
    """Outputs that dvc.yaml keeps out of DVC's cache."""
    if not (root / PIPELINE).is_file():
        return set()
    stages: Mapping[str, Mapping[str, Sequence[Any]]] = read_yaml(root / PIPELINE).get("stages") or {}
    kinds = [stage.get(kind) or () for stage in stages.values() for kind in ("outs", "metrics", "plots")]
    entries = [entry for kind in kinds for entry in kind if isinstance(entry, Mapping)]
    return {path for entry in entries for path, options in entry.items() if (options or {}).get("cache") is False}
