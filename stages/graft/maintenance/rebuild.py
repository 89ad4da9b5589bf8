"""Rebuild: run the pipeline again in a temporary folder with an empty store, and compare the bytes."""

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
"""Folders of the store with downloads; their hashes are checked, and they are not downloaded again."""


def rebuild(root: Path, scratch: Path, store: Path) -> Path:
    """Run the pipeline on a copy of the tracked files, with their changes, and give the copy.

    Nothing is published. DVC's cache is not read, and of the store only the downloads.

    Args:
        root: the repository.
        scratch: an empty folder.
        store: folder of the store.
    Raises:
        GraftError: the pipeline fails.
    """
    copy = scratch / "rebuilt"
    subprocess.run(["git", "clone", "--quiet", str(root.resolve()), str(copy)], check=True)
    for path in _changed_files(root):
        _copy_or_remove(root / path, copy / path)
    for entry in read_lock_entries(root):
        if not entry.is_out and _lacks(root / entry.path, copy / entry.path):  # such as images that git does not keep
            shutil.rmtree(copy / entry.path, ignore_errors=True)
            _link(root / entry.path, copy / entry.path)
    for name in KEPT:
        _link(store / name, scratch / "store" / name)
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-commit"]
    if subprocess.run(command, cwd=copy, env=_environment(copy, scratch / "store"), check=False).returncode:
        raise GraftError("the pipeline fails when it is built from nothing; the message is above")
    return copy


def differences(root: Path, copy: Path) -> Iterator[str]:
    """Name the outputs of dvc.lock that differ after the rebuild and, of reports, the values."""
    before, after = (
        {entry.path: entry.md5 for entry in read_lock_entries(folder) if entry.is_out} for folder in (root, copy)
    )
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            values = "; ".join(_changed_values(root / path, copy / path)) if path.endswith(".json") else ""
            yield f"{path} has other bytes when it is rebuilt" + (f": {values}" if values else "")


def _changed_values(before: Path, after: Path) -> Iterator[str]:
    if not (before.is_file() and after.is_file()):
        return
    old, new = flatten(read_json(before)), flatten(read_json(after))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name)}, rebuilt {new.get(name)}"


def _changed_files(root: Path) -> list[str]:
    """Tracked files that differ from the last commit."""
    changed = ask_git(root, "diff", "--name-only", "--relative", "-z", LAST_COMMIT) or b""
    return [path.decode() for path in changed.split(b"\0") if path]


def _lacks(source: Path, path: Path) -> bool:
    """Tell whether a path is missing in the copy, or is a folder that lacks something."""
    names = {entry.name for entry in source.iterdir()} - {"__pycache__"} if source.is_dir() else set()
    return not path.exists() or any(not (path / name).exists() for name in names)


def _link(source: Path, path: Path) -> None:
    if source.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(source.resolve())


def _copy_or_remove(source: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    if source.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)


def _environment(copy: Path, store: Path) -> dict[str, str]:
    """This process's environment with the copy's code and store, and without a tracking server."""
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"GRAFT_STORE": str(store), "PYTHONPATH": str(copy), "PATH": binaries}
    return {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")} | own
