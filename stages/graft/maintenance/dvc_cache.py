"""DVC's files, hashed again: those of the workspace, of its cache and of the last commit. DVC trusts old hashes."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.graft.core.git import LAST_COMMIT, ask_git, committed_file
from stages.graft.storage.hashing import md5_of, new_md5

OBJECTS = Path("files/md5")
"""Folder of the objects in DVC's cache, each in a folder named by the first two digits of its MD5."""


@dataclass(frozen=True, kw_only=True)
class Hasher:
    """MD5 of files; each content is read once, since files of the workspace may be links into DVC's cache."""

    known: dict[tuple[int, int], str] = field(default_factory=dict)
    """MD5 by device and inode."""

    def md5(self, path: Path) -> str | None:
        """Give a file's MD5, hex; None when it does not exist, is no file or cannot be read."""
        try:
            status = path.stat()
            key = (status.st_dev, status.st_ino)
            if key not in self.known:
                self.known[key] = md5_of(path)
            return self.known[key]
        except OSError:
            return None

    def folder(self, folder: Path) -> dict[str, str]:
        """Give the MD5 of every file in a folder, by its path in the folder."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): self.md5(path) or "" for path in paths}


def read_folder_list(path: Path) -> dict[str, str]:
    """Read the list of a folder's files from DVC's cache, after its hash was checked: MD5 by path in the folder."""
    return {file["relpath"]: file["md5"] for file in json.loads(path.read_bytes())}


def object_path(cache: Path, md5: str) -> Path:
    """Give the path of an object in DVC's cache."""
    return cache / OBJECTS / md5[:2] / md5[2:]


def all_objects(cache: Path) -> Iterator[tuple[str, Path]]:
    """Give the MD5 in the name and the path of every object in DVC's cache, without DVC's temporary files."""
    for folder in object_folders(cache):
        for path in sorted(folder.iterdir()):
            name = folder.name + path.name
            if len(name.removesuffix(".dir")) == 32:
                yield name, path


def object_folders(cache: Path) -> list[Path]:
    """List the folders of objects in DVC's cache."""
    return sorted((cache / OBJECTS).glob("[0-9a-f][0-9a-f]"))


def abandoned_dvc_files(folder: Path) -> list[Path]:
    """List temporary files that DVC left in a folder when it failed or was killed."""
    return [path for path in folder.glob(".*.tmp") if re.fullmatch(r"\.[0-9A-Za-z_-]{22}\.tmp", path.name)]


def index_lock(root: Path) -> Path | None:
    """Find the lock file of git's index, which DVC leaves when the disk is full; None when there is none."""
    path = root / (ask_git(root, "rev-parse", "--git-path", "index.lock") or b"").decode().strip()
    return path if path.is_file() else None


def cache_folder(root: Path) -> Path:
    """Ask DVC for the folder of its cache; relative when it is in the repository."""
    path = Path(_dvc(root, "cache", "dir").strip() or root / ".dvc/cache")
    return Path(os.path.relpath(path)) if path.is_relative_to(root.resolve()) else path


def has_remote(root: Path) -> bool:
    """Tell whether DVC has a default remote."""
    return bool(_dvc(root, "config", "core.remote").strip())


def without_ignored(root: Path, paths: list[str]) -> list[str]:
    """Leave out the paths that .dvcignore names."""
    ignored = set(_dvc(root, "check-ignore", "--stdin", given="\n".join(paths)).splitlines() if paths else ())
    return [path for path in paths if path not in ignored]


def committed_md5(root: Path, path: str) -> str | None:
    """Give the MD5 of a file at the last commit; None when git does not have it."""
    content = committed_file(root, path)
    return None if content is None else new_md5(content).hexdigest()


def committed_folder(root: Path, folder: str) -> dict[str, str]:
    """Give the MD5 of every file of a folder at the last commit, by its path in it; empty when git has none."""
    answer = ask_git(root, "archive", LAST_COMMIT, folder)
    if answer is None:
        return {}
    with tarfile.open(fileobj=io.BytesIO(answer)) as archive:
        contents = ((member.name, archive.extractfile(member)) for member in archive)
        files = [(Path(name), new_md5(file.read()).hexdigest()) for name, file in contents if file is not None]
    return {path.relative_to(folder).as_posix(): md5 for path, md5 in files}


def _dvc(root: Path, *arguments: str, given: str = "") -> str:
    """What a DVC command prints; nothing when it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    run = subprocess.run(command, cwd=root, input=given, capture_output=True, check=False, encoding="utf-8")
    return run.stdout if run.returncode == 0 else ""
