"""Who has a folder of the store open: its users share a lock, and who would remove it needs that lock alone.

The lock is a file beside the folder, `.<name>.lock`; who makes the folder has `.<name>.making.lock`. The operating
system frees it when its holder dies. Where it has no such locks (Windows, some network disks) nothing is held.
"""

import errno
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def shared_lock(folder: Path, holder: object) -> None:
    """Keep a folder or file, which need not exist yet, from being removed for as long as an object lives."""
    file = _open_locked(_lock_of(folder, ".lock"), "shared")
    if file is not None:
        weakref.finalize(holder, os.close, file)


@contextmanager
def try_exclusive(folder: Path) -> Iterator[bool]:
    """Tell whether nobody has a folder open; if so, nobody opens it until the end."""
    lock = _lock_of(folder, ".lock")
    file = _open_locked(lock, "now or never")
    try:
        yield file is not None or sys.platform == "win32"
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)
            os.close(file)


@contextmanager
def exclusive_lock(folder: Path, waiting: str = "") -> Iterator[None]:
    """Let one process at a time make a folder; the others wait, and then look whether it is there.

    Args:
        folder: which.
        waiting: said on stderr by those who wait.
    """
    lock = _lock_of(folder, ".making.lock")
    file = _open_locked(lock, "now or never")
    if file is None and waiting and sys.platform != "win32":
        print(waiting, file=sys.stderr, flush=True)
    file = file if file is not None else _open_locked(lock, "exclusive")
    try:
        yield
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)
            os.close(file)


def mark_used(path: Path) -> None:
    """Note, as a file's time, that it is used now."""
    with suppress(OSError):  # another user's
        os.utime(path)


def _lock_of(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}{ending}")


def _open_locked(path: Path, how: str) -> int | None:
    """Open a lock file and take its lock; None when it cannot be had.

    Args:
        path: the lock file.
        how: shared or alone, which wait; now or never, which is alone and does not.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    kinds = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX, "now or never": fcntl.LOCK_EX | fcntl.LOCK_NB}
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None  # a store that is there to be read
            raise
        try:
            fcntl.flock(file, kinds[how])
        except OSError:  # in use; or a file system without locks
            os.close(file)
            return None
        if _is_at(file, path):
            return file
        os.close(file)  # removed while we waited: another file is there now, or none


def _is_at(file: int, path: Path) -> bool:
    """Tell whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
