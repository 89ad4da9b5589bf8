"""Locks between processes that share a folder of the store.

`.<name>.lock` beside a folder is shared by all who use the folder; a process that removes the folder must have the lock
exclusively. `.<name>.making.lock` belongs to the one process that makes the folder or file. The operating system
releases the locks of a process that ends. In read-only folders and on disks without locks, no lock is taken; Windows
has no shared locks.
"""

import errno
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

_NO_LOCKS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a read-only folder, or a disk without locks, answers."""


def shared_lock(folder: Path, holder: object) -> None:
    """Keep a folder or file, which need not exist yet, from being removed for as long as an object lives."""
    if sys.platform == "win32":
        return
    import fcntl

    path = _lock_path(folder, "lock")
    with _where_possible():
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        release = weakref.finalize(holder, os.close, file)
        fcntl.flock(file, fcntl.LOCK_SH)
        if not os.fstat(file).st_nlink:  # another process has just removed the folder and its lock
            release()
            shared_lock(folder, holder)


@contextmanager
def try_exclusive(folder: Path) -> Iterator[bool]:
    """Lock a folder that is to be removed, if no process uses it; give whether the folder is locked."""
    from filelock import Timeout

    lock = _file_lock(_lock_path(folder, "lock"))
    with suppress(Timeout):
        _acquire(lock, seconds=0)
    try:
        yield lock.is_locked
    finally:
        _release(lock)


@contextmanager
def exclusive_lock(folder: Path, waiting: str = "", seconds: float = -1.0) -> Iterator[None]:
    """Let one process at a time make a folder or file; the others wait, and then look whether it is there.

    Args:
        folder: the folder or file.
        waiting: message on stderr for a process that has to wait.
        seconds: how long to wait; less than 0: without limit.
    Raises:
        TimeoutError: another process holds the lock for longer.
    """
    from filelock import Timeout

    lock = _file_lock(_lock_path(folder, "making.lock"))
    try:
        _acquire(lock, seconds=0)
    except Timeout:
        if waiting:
            print(waiting, file=sys.stderr, flush=True)
        _acquire(lock, seconds)
    try:
        yield
    finally:
        _release(lock)


def mark_used(path: Path) -> None:
    """Set a file's time to now: the file is in use."""
    with suppress(OSError):  # another user's file
        os.utime(path)


def _lock_path(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}.{ending}").absolute()


def _file_lock(path: Path) -> "FileLock":
    from filelock import FileLock  # 40 ms, which most stages do not need

    return FileLock(path, thread_local=False, fallback_to_soft=False)


def _acquire(lock: "FileLock", seconds: float) -> None:
    with _where_possible():
        lock.acquire(timeout=seconds)


def _release(lock: "FileLock") -> None:
    if lock.is_locked:
        with suppress(OSError):  # Windows removes no open file
            os.unlink(lock.lock_file)
        lock.release()


@contextmanager
def _where_possible() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
