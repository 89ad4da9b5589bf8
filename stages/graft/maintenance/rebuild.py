"""Everything made anew in a temporary folder, from the tracked files, with an empty store: are the bytes the same?"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stages.graft.core.errors import GraftError
from stages.graft.core.git import LAST_COMMIT, ask_git
from stages.graft.core.params import flatten
from stages.graft.maintenance.dvc_lock import read_lock_entries
from stages.graft.storage.files import read_json

KEPT = ("downloads", "weights")
"""Folders of the store that hold what others made: they are proven by their hashes, and not fetched again."""


def rebuild(root: Path, scratch: Path, store: Path) -> Path:
    """Run the whole pipeline on a copy of the tracked files, as they are now; gives the copy.

    Nothing of it is published, and neither DVC's cache nor the store is read.

    Args:
        root: the repository.
        scratch: an empty folder.
        store: whose downloads are used.
    Raises:
        GraftError: the pipeline fails there.
    """
    copy = scratch / "rebuilt"
    subprocess.run(["git", "clone", "--quiet", str(root.resolve()), str(copy)], check=True)
    for path in _changed_files(root):
        _copy_or_remove(root / path, copy / path)
    for claim in read_lock_entries(root):
        if not claim.is_out and not (copy / claim.path).exists() and (root / claim.path).exists():
            (copy / claim.path).parent.mkdir(parents=True, exist_ok=True)
            (copy / claim.path).symlink_to((root / claim.path).resolve())  # images that git does not hold
    for name in KEPT:
        if (store / name).is_dir():
            (scratch / "store").mkdir(exist_ok=True)
            (scratch / "store" / name).symlink_to((store / name).resolve())
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-commit"]
    if subprocess.run(command, cwd=copy, env=_environment(copy, scratch / "store"), check=False).returncode:
        raise GraftError("the pipeline fails when it is built from nothing; the message is above")
    return copy


def differences(root: Path, copy: Path) -> Iterator[str]:
    """Say which outputs of dvc.lock came out otherwise and, of reports, which values."""
    before, after = ({one.path: one.md5 for one in read_lock_entries(place) if one.is_out} for place in (root, copy))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            values = "; ".join(_other_values(root / path, copy / path)) if path.endswith(".json") else ""
            yield f"{path} has other bytes when it is rebuilt" + (f": {values}" if values else "")


def _other_values(before: Path, after: Path) -> Iterator[str]:
    if not (before.is_file() and after.is_file()):
        return
    old, new = flatten(read_json(before)), flatten(read_json(after))
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name)}, rebuilt {new.get(name)}"


def _changed_files(root: Path) -> list[str]:
    """Tracked files that are not as the last commit holds them."""
    changed = ask_git(root, "diff", "--name-only", "--relative", "-z", LAST_COMMIT) or b""
    return [path.decode() for path in changed.split(b"\0") if path]


def _copy_or_remove(source: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    if source.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)


def _environment(copy: Path, store: Path) -> dict[str, str]:
    """This process's, but with the copy's code, an own store and own runs."""
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"GRAFT_STORE": str(store), "PYTHONPATH": str(copy), "PATH": binaries}
    return {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")} | own
