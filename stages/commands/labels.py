"""graft labels import: put labels that people filled in into the file of given labels.

Reads   a filled CSV or an export of Label Studio, params.yaml
Writes  the file that ingest.labels names
"""

import getpass
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from stages.graft.core.git import ask_git
from stages.graft.core.params import load_params
from stages.graft.data.given_labels import conflicts_among, read_decisions, write_decisions
from stages.graft.data.ingest_params import IngestParams
from stages.graft.labelling.label_files import new_decisions, read_filled

SHOWN = 10
"""Conflicts that are shown, at most."""


def import_labels(file: Path, who: str | None) -> None:
    """Add the labels of a file, and say what was added and what contradicts earlier labels.

    Raises:
        DataError: the file cannot be understood; nothing is written.
    """
    target = Path(load_params("ingest", IngestParams).labels)
    known = read_decisions(target)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    filled = read_filled(file, who or user_name(), now)
    added = new_decisions(filled, known)
    decisions = [*known, *added.decisions]
    if added.decisions:
        write_decisions(decisions, target)
    counts = ", ".join(f"{count} {label}" for label, count in sorted(Counter(d.label for d in added.decisions).items()))
    print(f"labels: {len(added.decisions)} added to {target}{f' ({counts})' if counts else ''}, "
          f"{added.num_known} were there already")  # fmt: skip
    images = {decision.image for decision in added.decisions}
    conflicts = [some for some in conflicts_among(decisions) if some[0].image in images]
    for some in conflicts[:SHOWN]:
        said = "; ".join(f"{one.label} ({one.who}, {one.when})" for one in some)
        print(f"labels: {some[-1].path or some[-1].id} has several labels, the last counts: {said}")
    if len(conflicts) > SHOWN:
        print(f"labels: and {len(conflicts) - SHOWN} more images with several labels")
    if added.decisions:
        print("labels: `graft repro` uses them; commit the file to share them")


def user_name() -> str:
    """Give the name of the user: git's, or else the system's."""
    name = (ask_git(Path(), "config", "user.name") or b"").decode("utf-8", "replace").strip()
    return name or getpass.getuser()
