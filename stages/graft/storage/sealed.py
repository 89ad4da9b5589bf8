"""Files of the store that carry their hash, so that none is used unchecked: records that are sealed, and named files.

A sealed record is JSON with a hash of itself and with the hashes of the files beside it that belong to it:
    {…, "files": {name: SHA-256}, "seal": hash of all else}
A named file has the first digits of its SHA-256 in its name: <name>.<32 hex digits><suffix>. It is for single files
that are replaced as a whole: at any moment, one of them is complete.

A damaged file counts as missing, which a line on stderr says: what needs it makes it again.
"""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError
from stages.graft.storage.files import json_text, read_json, temporary_folder, write_json
from stages.graft.storage.hashing import fingerprint_of, sha256_of

SEAL, FILES = "seal", "files"
"""Keys of a sealed record."""

NUM_DIGITS = 32
"""Digits of the hash in a file's name."""

NAMED = "[!.]*." + "[0-9a-f]" * NUM_DIGITS
"""Pattern of the name of a named file, without its suffix."""


def write_sealed(record: Mapping[str, Any], path: Path, files: Iterable[str] = ()) -> None:
    """Write a record of JSON values with the hashes of the named files beside it, and with its own."""
    content = {**record, FILES: {name: sha256_of(path.with_name(name)) for name in files}}
    write_json({**content, SEAL: fingerprint_of(content)}, path)


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Read a sealed record and check the files that belong to it; None when it is missing or anything is damaged."""
    if not path.exists():
        return None
    if problem := sealed_problem(path):
        _tell(problem)
        return None
    return read_json(path)


def sealed_problem(path: Path) -> str | None:
    """Say what is wrong with a sealed record or with a file that belongs to it; None when nothing is."""
    try:
        content = read_json(path)
    except (DataError, OSError):
        return f"{path} is damaged"
    record = {key: value for key, value in content.items() if key != SEAL}
    if SEAL not in content:
        return f"{path} carries no hash: an older version wrote it, or it is damaged"
    if content[SEAL] != fingerprint_of(record) or path.read_bytes() != json_text(content).encode():
        return f"{path} is damaged: its hash is not the one in it"
    for name, expected in record[FILES].items():
        if not path.with_name(name).is_file() or sha256_of(path.with_name(name)) != expected:
            return f"{path.with_name(name)} is missing or damaged"
    return None


def write_named(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a named file, which replaces the one before it.

    Args:
        path: its folder, name and suffix, without the hash.
        write: writes the file to the path that it is given.
    Returns:
        The file's path.
    """
    with temporary_folder(path.parent, path.name) as folder:
        temporary = folder / path.name
        write(temporary)
        named = path.with_name(f"{path.stem}.{sha256_of(temporary)[:NUM_DIGITS]}{path.suffix}")
        os.replace(temporary, named)
    for other in named_files(path):
        if other != named:
            other.unlink(missing_ok=True)
    return named


def find_named(path: Path) -> Path | None:
    """Find the newest named file that is whole, and remove damaged ones; None when there is none."""
    for named in named_files(path):
        problem = named_problem(named)
        if problem is None:
            return named
        _tell(problem)
        named.unlink(missing_ok=True)
    return None


def named_files(path: Path) -> list[Path]:
    """List the named files of a name, the newest first, unchecked: there are two after a kill at the wrong moment."""
    pattern = f"{glob.escape(path.stem)}.{'[0-9a-f]' * NUM_DIGITS}{path.suffix}"
    return sorted(path.parent.glob(pattern), key=lambda named: named.stat().st_mtime_ns, reverse=True)


def remove_named(path: Path) -> None:
    """Remove the named files of a name."""
    for named in named_files(path):
        named.unlink(missing_ok=True)


def named_problem(path: Path) -> str | None:
    """Say what is wrong with a named file; None when nothing is, or when its name has no hash."""
    digits = re.search(rf"\.([0-9a-f]{{{NUM_DIGITS}}})$", path.stem)
    if digits is None or sha256_of(path).startswith(digits[1]):
        return None
    return f"{path} is damaged: its SHA-256 is not the one in its name"


def _tell(problem: str) -> None:
    print(f"store: {problem}; it is made or fetched again", file=sys.stderr)
