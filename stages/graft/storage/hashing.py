"""Hashes that identify files, folders and records."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.graft.core.errors import GraftError

GIT_LFS_POINTER = b"version https://git-lfs"
"""The first bytes of the text file that stands for a large file when Git LFS has not fetched it."""


def sha256_of(path: Path) -> str:
    """Read the whole file and give its SHA-256 as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, stated_by: str, error: type[GraftError]) -> None:
    """Compare a file with the SHA-256 it must have.

    Args:
        path: the file.
        expected: 64 hex digits, in lower or upper case.
        stated_by: the parameter or the file that gives the expected SHA-256; for the message.
        error: the class of the error to raise.
    Raises:
        GraftError: the file has another SHA-256, or is a Git-LFS pointer.
    """
    found = sha256_of(path)
    if found == expected.lower():
        return
    with path.open("rb") as file:
        if file.read(len(GIT_LFS_POINTER)) == GIT_LFS_POINTER:
            raise error(f"{path} is a Git-LFS pointer, not the file itself; run `git lfs pull`")
    raise error(
        f"{path} has SHA-256 {found}, but {stated_by} says {expected}: the file is damaged or another file; "
        "fetch it again or, if you trust it, correct the SHA-256"
    )


def fingerprint_of(record: Mapping[str, Any]) -> str:
    """Hash a record of JSON values, such as all that can change a bit of a feature; 32 hex digits."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:32]


def md5_of(path: Path) -> str:
    """Read the whole file and give its MD5, as DVC does; 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, new_md5).hexdigest()


def new_md5(data: bytes = b"") -> "hashlib._Hash":
    """Begin an MD5; it identifies files for DVC and protects nothing."""
    return hashlib.md5(data, usedforsecurity=False)


def dvc_folder_list(files: Mapping[str, str]) -> bytes:
    """Write the list of a folder's files as DVC does, from the MD5 of each file by its path in the folder."""
    return json.dumps([{"md5": files[path], "relpath": path} for path in sorted(files)], sort_keys=True).encode()


def dvc_folder_md5(files: Mapping[str, str]) -> str:
    """Hash a folder as DVC does: the MD5 of the list of its files, with `.dir` after it."""
    return f"{new_md5(dvc_folder_list(files)).hexdigest()}.dir"
