"""Files as DVC sees them, hashed anew: one, a folder, an object of its cache; DVC itself trusts what it once hashed."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.graft.core.git import LAST_COMMIT, ask_git, committed_file

OBJECTS = Path("files/md5")
"""In DVC's cache: an object lies under the first two digits of its MD5."""


@dataclass(frozen=True, kw_only=True)
class Hasher:
    """MD5 of files, each content read once: a file linked to the cache is the cache's."""

    known: dict[tuple[int, int], str] = field(default_factory=dict)
    """By device and inode."""

    def md5(self, path: Path) -> str | None:
        """Give a file's MD5, hex; None when it is not there, is no file or cannot be read."""
        try:
            status = path.stat()
            place = (status.st_dev, status.st_ino)
            if place not in self.known:
                with path.open("rb") as file:
                    self.known[place] = hashlib.file_digest(file, _md5).hexdigest()
            return self.known[place]
        except OSError:
            return None

    def tree(self, folder: Path) -> dict[str, str]:
        """Give the MD5 of every file in a folder, by its path in it with slashes."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): self.md5(path) or "" for path in paths}


def tree_md5(tree: Mapping[str, str]) -> str:
    """Hash a folder's list of files as DVC does."""
    return f"{_md5(tree_list(tree)).hexdigest()}.dir"


def tree_list(tree: Mapping[str, str]) -> bytes:
    """Write a folder's list of files as DVC keeps it."""
    return json.dumps([{"md5": tree[path], "relpath": path} for path in sorted(tree)], sort_keys=True).encode()


def read_tree(path: Path) -> dict[str, str]:
    """Read a folder's list of files from DVC's cache; the caller has proven its hash."""
    return {file["relpath"]: file["md5"] for file in json.loads(path.read_bytes())}


def object_path(cache: Path, md5: str) -> Path:
    """Where DVC's cache keeps an object."""
    return cache / OBJECTS / md5[:2] / md5[2:]


def all_objects(cache: Path) -> Iterator[tuple[str, Path]]:
    """Every object of DVC's cache, of any branch, with the MD5 in its name; DVC's temporary files are left out."""
    for folder in object_folders(cache):
        for path in sorted(folder.iterdir()):
            name = folder.name + path.name
            if len(name.removesuffix(".dir")) == 32:
                yield name, path


def object_folders(cache: Path) -> list[Path]:
    """Give the folders of DVC's cache in which objects lie."""
    return sorted((cache / OBJECTS).glob("[0-9a-f][0-9a-f]"))


def abandoned_dvc_files(folder: Path) -> list[Path]:
    """Files that DVC was copying or linking, into its cache or out of it, when it failed or was killed."""
    return [path for path in folder.glob(".*.tmp") if re.fullmatch(r"\.[0-9A-Za-z_-]{22}\.tmp", path.name)]


def index_lock(root: Path) -> Path | None:
    """Find the lock of git's index, which DVC leaves there when the disk is full; None when it is free."""
    answer = ask_git(root, "rev-parse", "--git-path", "index.lock")
    path = root / (answer or b"").decode().strip()
    return path if path.is_file() else None


def cache_folder(root: Path) -> Path:
    """Ask DVC where its cache is; as a path from here where that is shorter."""
    path = Path(_dvc(root, "cache", "dir").strip() or root / ".dvc/cache")
    return Path(os.path.relpath(path)) if path.is_relative_to(root.resolve()) else path


def has_remote(root: Path) -> bool:
    """Tell whether a default remote is configured."""
    return bool(_dvc(root, "config", "core.remote").strip())


def without_ignored(root: Path, paths: list[str]) -> list[str]:
    """Leave out what .dvcignore names."""
    asked = _dvc(root, "check-ignore", "--stdin", given="\n".join(paths)) if paths else ""
    ignored = set(asked.splitlines())
    return [path for path in paths if path not in ignored]


def committed_md5(root: Path, path: str) -> str | None:
    """MD5 of a file as the last commit holds it; None when it does not."""
    content = committed_file(root, path)
    return None if content is None else _md5(content).hexdigest()


def committed_tree(root: Path, folder: str) -> dict[str, str]:
    """MD5 of every file of a folder as the last commit holds it, by its path in it; empty when it does not."""
    answer = ask_git(root, "archive", LAST_COMMIT, folder)
    if answer is None:
        return {}
    with tarfile.open(fileobj=io.BytesIO(answer)) as files:
        contents = {member.name: files.extractfile(member) for member in files}
        names = {name: name.removeprefix(f"{folder}/") for name in contents}
        return {names[name]: _md5(file.read()).hexdigest() for name, file in contents.items() if file is not None}


def _md5(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


def _dvc(root: Path, *arguments: str, given: str = "") -> str:
    """What DVC prints; nothing when it refuses."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, input=given, capture_output=True, check=False, encoding="utf-8")
    return done.stdout if done.returncode == 0 else ""
