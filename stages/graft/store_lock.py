"""Who has a folder of the store open: its users share a lock, and who would remove the folder needs it alone.

The operating system frees the lock when its holder dies. Where it has no such locks (Windows) nothing is held.
"""

import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


def hold(folder: Path, holder: object) -> None:
    """Keep a folder, made if need be, from being removed for as long as an object lives."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue  # removed between the two
        if not _locked(file, shared=True) or _is_at(file, folder / LOCK):
            weakref.finalize(holder, os.close, file)
            return
        os.close(file)  # removed while we waited for the lock: another folder is there now, or none


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Tell whether nobody has a folder open; if so, nobody opens it until the end."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        yield _locked(file, shared=False)
    finally:
        os.close(file)


def _locked(file: int, *, shared: bool) -> bool:
    """Take the lock: a shared one as soon as it is free, the other one now or not at all."""
    if sys.platform == "win32":
        return not shared
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # in use; or a file system without locks
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Tell whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
