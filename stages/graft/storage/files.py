"""Files for other stages: written under a temporary name, then renamed; equal content gives equal bytes.

The temporary name, `.<name>.<host>-<process>-<random>.tmp`, tells which process writes. What a killed process left is
removed by the next process of the same computer that writes into the same folder.
"""

import functools
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError, one_line
from stages.graft.core.processes import is_gone, this_host, this_process


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    It may become a file or a folder. A file or folder at `path` is replaced.
    """
    with _temporary(path) as temporary:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Give an empty folder in `parent`; it is removed at the end, or by a later process when this one is killed."""
    with _temporary(parent / name) as temporary:
        temporary.mkdir()
        yield temporary


def abandoned_files(folder: Path) -> list[Path]:
    """List temporary files and folders that killed processes of this computer left in a folder."""
    with os.scandir(folder) as entries:
        matches = [_TEMPORARY.fullmatch(entry.name) for entry in entries]
    return [folder / match[0] for match in matches if match and match[1] == _host() and is_gone(match[2])]


_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-(\d+@\d*)-[0-9a-f]{8}\.tmp", re.DOTALL)
"""A temporary name, with its host and its process."""


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.absolute(), os.getpid())
    name = path.name.encode()[:120].decode(errors="ignore")  # file systems limit the length of a name
    temporary = path.with_name(f".{name}.{_host()}-{this_process()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        _remove(temporary)


@functools.cache
def _host() -> str:
    return hashlib.sha256(this_host().encode()).hexdigest()[:8]


@functools.cache
def _sweep(folder: Path, process: int) -> None:
    """Remove what killed processes left in a folder; each process does so once."""
    for path in abandoned_files(folder):
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or folder, which another process may remove at the same time."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a UTF-8 text file with Unix line ends."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as indented JSON, its keys in the order given."""
    write_text(json_text(record), path)


def json_text(record: Mapping[str, Any]) -> str:
    """Give the text that `write_json` writes."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON record.

    Raises:
        DataError: the file is missing or is not a JSON object, or a number in it is not finite.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({one_line(error)}); `dvc repro` makes it again") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(record).__name__}")
    return record
