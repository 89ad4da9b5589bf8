"""Removing from the store: what is old, what nobody uses, never what a running process has open."""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.graft.artifacts import temporary_folder
from stages.graft.errors import GraftError
from stages.graft.store_contents import Entry
from stages.graft.store_lock import alone
from stages.graft.store_use import InUse

SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(age: str) -> float:
    """Read an age such as 12h, 30d or 4w.

    Raises:
        GraftError: it is none.
    """
    found = re.fullmatch(r"(\d+)([hdw])", age)
    if found is None:
        raise GraftError(f"an age is a number of hours, days or weeks, such as 12h, 30d or 4w, not {age!r}")
    return float(found[1]) * SECONDS[found[2]]


def to_prune(entries: Iterable[Entry], before: float | None, in_use: InUse | None) -> list[Entry]:
    """Choose what to remove: what fits every condition given, and what killed processes left.

    Args:
        entries: of the store.
        before: last used before then, seconds since 1970; None for no condition.
        in_use: what is used, so not that, nor what nobody can tell of; None for no condition.
    Raises:
        GraftError: there is no condition.
    """
    if before is None and in_use is None:
        raise GraftError("say what may go: --older-than 30d, --unused, or both (what fits both goes)")
    return [one for one in entries if one.kind == "leftover" or _fits(one, before, in_use)]


def _fits(entry: Entry, before: float | None, in_use: InUse | None) -> bool:
    is_old = before is None or entry.last_used < before
    return is_old and (in_use is None or in_use.needs(entry) is False)


def prune(entries: Iterable[Entry], store: Path) -> Iterator[tuple[Entry, bool]]:
    """Remove entries, one by one; say of each whether it went: it stays while a process has it open.

    Raises:
        GraftError: it may not be removed.
    """
    for entry in entries:
        with alone(entry.locked_by) as free:
            if free:
                _remove(entry.path, store)
        yield entry, free


def _remove(path: Path, store: Path) -> None:
    """Take it away as a whole first: half a folder would be taken for damaged."""
    try:
        with temporary_folder(store, path.name) as trash:
            shutil.move(path, trash / path.name)
    except FileNotFoundError:
        return  # somebody else was faster
    except OSError as error:
        raise GraftError(f"{path} cannot be removed ({error.strerror or error}); ask its owner") from None
