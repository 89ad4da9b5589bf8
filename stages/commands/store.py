"""graft store: list what the store outside the repository holds, for which backbone, and make room in it.

Reads   the store; of the repository, what its branches, tags and experiments were made with
Writes  nothing; `prune_store` deletes, after asking
"""

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from stages.graft.core.errors import GraftError
from stages.graft.maintenance.store_inventory import Entry, read_entries
from stages.graft.maintenance.store_pruning import InUse, prune, read_use, seconds_of, to_prune
from stages.graft.storage.cache_folder import feature_store_location, store_folder
from stages.graft.storage.s3 import objects_below

ROOT = Path()

S3_ADVICE = "which are not listed or deleted here: give the bucket a lifecycle rule, by their age"

USE = {True: "yes", False: "no", None: "?"}


def list_store() -> None:
    """Print the entries of the store, its size, and the size of the features in S3."""
    store = store_folder()
    store.mkdir(parents=True, exist_ok=True)
    entries = read_entries(store)
    if entries:
        print(format_entries(entries, read_use(ROOT)))
    print(f"{store}: {format_size(sum(entry.num_bytes for entry in entries))}")
    features = feature_store_location()
    if isinstance(features, str):
        size = format_size(sum(object_.size for object_ in objects_below(features)))
        print(f"{features}: {size} of features, {S3_ADVICE}")


def prune_store(older_than: str | None, unused: bool, yes: bool) -> None:
    """Print the entries that fit every condition, ask, and delete them.

    Raises:
        GraftError: there is no condition, or no terminal to ask at.
    """
    store, in_use = store_folder(), read_use(ROOT)
    store.mkdir(parents=True, exist_ok=True)
    before = None if older_than is None else time.time() - seconds_of(older_than)
    entries = to_prune(read_entries(store), before, in_use if unused else None)
    if not entries:
        print(f"graft store: nothing of that kind in {store}")
        return
    print(format_entries(entries, in_use))
    if not (yes or agrees(entries)):
        print("graft store: nothing is deleted")
        return
    num_bytes = 0
    for entry, is_deleted in prune(entries, store):
        num_bytes += entry.num_bytes if is_deleted else 0
        if not is_deleted:
            print(f"graft store: {entry.path} stays: a running process has it open", file=sys.stderr)
    print(f"graft store: {format_size(num_bytes)} deleted")


def agrees(entries: Sequence[Entry]) -> bool:
    """Ask at the terminal whether to delete entries.

    Raises:
        GraftError: there is no terminal.
    """
    size = format_size(sum(entry.num_bytes for entry in entries))
    if not sys.stdin.isatty():
        raise GraftError(f"nothing is deleted: there is no terminal to ask at; --yes deletes these, {size}")
    print("Every repository that shares the store has to compute or download them again when it needs them.")
    return input(f"Delete {len(entries)} entries, {size}? [y/N] ").strip().lower() in ("y", "yes")


def format_entries(entries: Sequence[Entry], in_use: InUse) -> str:
    """Format entries as a table of text, a line for each."""
    head = ("what", "network", "weights", "px", "runtime", "rows", "size", "last used", "used here", "where")
    rows = [head, *(entry_cells(entry, USE[in_use.needs(entry)]) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in cells)


def entry_cells(entry: Entry, use: str) -> tuple[str, ...]:
    """Format the cells of an entry's line."""
    cache_key = entry.cache_key
    runtime = " ".join([*str(cache_key.get("runtime", "")).split("-")[0].split(), str(cache_key.get("precision", ""))])
    return (
        entry.kind,
        str(cache_key.get("name", "")),
        str(cache_key.get("weights", "")),
        str(cache_key.get("preprocessing", {}).get("crop_px", "")),
        runtime.strip(),
        "" if entry.num_rows is None else str(entry.num_rows),
        format_size(entry.num_bytes),
        datetime.fromtimestamp(entry.last_used).isoformat(" ", "minutes"),
        use,
        f"{entry.path.parent.name}/{entry.path.name[:12]}",
    )


def format_size(num_bytes: int) -> str:
    """Format a size with a unit that fits it."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} kB"
