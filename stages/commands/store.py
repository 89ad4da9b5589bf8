"""Beside the pipeline, store: what the store outside the repository holds, for which backbone, and how to make room.

Reads   the store; of the repository, what its branches, tags and experiments were made with
Writes  nothing; prune removes, after asking
Run     graft store [prune --older-than 30d --unused --yes]
"""

import argparse
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

NOT_HERE = "which are not listed or deleted here: give the bucket a lifecycle rule, by their age"

USE = {True: "yes", False: "no", None: "?"}


def main(arguments: Sequence[str]) -> None:
    """List the store, or make room in it."""
    options = described().parse_args(arguments)
    store = store_folder()
    entries, in_use = read_entries(store), read_use(ROOT)
    if options.command == "prune":
        before = None if options.older_than is None else time.time() - seconds_of(options.older_than)
        make_room(to_prune(entries, before, in_use if options.unused else None), in_use, store, options.yes)
        return
    if entries:
        print("\n".join(listing(entries, in_use)))
    print(f"{store}: {in_words(sum(one.num_bytes for one in entries))}")
    features = feature_store_location()
    if isinstance(features, str):
        print(f"{features}: {in_words(sum(one.size for one in objects_below(features)))} of features, {NOT_HERE}")


def make_room(chosen: Sequence[Entry], in_use: InUse, store: Path, is_agreed: bool) -> None:
    """Say what would go, ask, remove."""
    if not chosen:
        print(f"graft store: nothing of that kind in {store}")
        return
    print("\n".join(listing(chosen, in_use)))
    size = in_words(sum(one.num_bytes for one in chosen))
    if not is_agreed and not sys.stdin.isatty():
        raise GraftError(f"nothing is deleted: there is no terminal to ask at; with --yes these go, {size}")
    print("Whoever needs them again, in whichever repository shares the store, has to compute or fetch them anew.")
    if not is_agreed and input(f"Delete {len(chosen)} entries, {size}? [y/N] ").strip().lower() not in ("y", "yes"):
        print("graft store: nothing is deleted")
        return
    gone = 0
    for entry, is_gone in prune(chosen, store):
        gone += entry.num_bytes if is_gone else 0
        if not is_gone:
            print(f"graft store: {entry.path} stays: a running process has it open", file=sys.stderr)
    print(f"graft store: {in_words(gone)} deleted")


def listing(entries: Sequence[Entry], in_use: InUse) -> list[str]:
    """A table for people: a line for each entry."""
    head = ("what", "network", "weights", "px", "runtime", "rows", "size", "last used", "used here", "where")
    rows = [head, *(row(one, USE[in_use.needs(one)]) for one in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)).rstrip() for one in rows]


def row(entry: Entry, use: str) -> tuple[str, ...]:
    """One entry's line."""
    made_with = entry.made_with
    runtime = " ".join([*str(made_with.get("runtime", "")).split("-")[0].split(), str(made_with.get("precision", ""))])
    return (
        entry.kind,
        str(made_with.get("name", "")),
        str(made_with.get("weights", "")),
        str(made_with.get("preprocessing", {}).get("crop_px", "")),
        runtime.strip(),
        "" if entry.num_rows is None else str(entry.num_rows),
        in_words(entry.num_bytes),
        datetime.fromtimestamp(entry.last_used).isoformat(" ", "minutes"),
        use,
        f"{entry.path.parent.name}/{entry.path.name[:12]}",
    )


def in_words(num_bytes: int) -> str:
    """A size with a unit that fits it."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} kB"


def described() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser("graft store", description="List what the store holds, or make room in it.")
    commands = parser.add_subparsers(dest="command", metavar="prune")
    pruning = commands.add_parser("prune", help="delete what fits every condition given, after asking")
    pruning.add_argument("--older-than", metavar="AGE", help="not used for so long: 12h, 30d, 4w")
    pruning.add_argument(
        "--unused", action="store_true", help="by no branch, tag or experiment of this repository, nor its workspace"
    )
    pruning.add_argument("--yes", action="store_true", help="do not ask")
    return parser
