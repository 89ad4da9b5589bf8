"""Reads files that a user names: regular ones alone, not too large; no pipe and no device is opened."""

import os
import stat
from collections.abc import Callable

from stages.graft.core.errors import DataError
from stages.graft.core.memory import FILES, take

MAX_FILE_BYTES = 2**29
"""A larger file is a bad image (512 MiB)."""

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Without waiting, should a pipe have taken the file's place."""


def read_regular(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    """Read a regular file, also through links; it counts as a file in memory (`core.memory`).

    Args:
        path: of the file.
        max_bytes: the largest size; None: MAX_FILE_BYTES.
    Raises:
        DataError: it is no regular file, or is too large; the message is the reason alone, without the path.
        OSError: it cannot be read.
    """
    check_regular(path)
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:
        state = os.fstat(file.fileno())
        _check_kind(state.st_mode)
        check_size(state.st_size, max_bytes)
        take(FILES, state.st_size)
        data = _read(file.read, state.st_size + 1)
    if len(data) > state.st_size:
        raise DataError("grows while it is read; try again when it is complete")
    return data


def read_beginning(path: str | os.PathLike[str], num_bytes: int) -> bytes:
    """Read at most so many bytes of a regular file; errors are those of `read_regular`."""
    check_regular(path)
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:
        return _read(file.read, num_bytes)


def read_part(path: str | os.PathLike[str], start: int, num_bytes: int) -> bytes:
    """Read a part of a regular file, fewer bytes at its end; errors are those of `read_regular`."""
    check_regular(path)
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:
        take(FILES, num_bytes)
        file.seek(start)
        return _read(file.read, num_bytes)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file, with a DataError; an OSError if it is not there.

    An open device may already act, such as a tape that is wound back; so it is not opened.
    """
    try:
        _check_kind(os.stat(path).st_mode)
    except ValueError as error:  # a zero byte in the path
        raise DataError(f"cannot be read: {error}") from None


def check_size(size: int, max_bytes: int | None = None) -> None:
    """Refuse to read one file of too many bytes, with a DataError whose message is the reason alone, without a path."""
    limit = MAX_FILE_BYTES if max_bytes is None else max_bytes
    if size > limit:
        raise DataError(f"{size / 2**30:.1f} GiB are over the limit of {limit / 2**30:g} GiB a file")


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "something else")
        raise DataError(f"not a file but {kind}; leave it out, or save what it gives as a file")


def _read(read: Callable[[int], bytes | None], num_bytes: int) -> bytes:
    """Read until so many bytes are there, or the end: the system gives less than 2 GiB at once."""
    data = read(num_bytes) or b""
    if len(data) == num_bytes or not data:
        return data
    parts = [data]
    while (missing := num_bytes - sum(map(len, parts))) and (part := read(missing)):
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
