"""Labels that people gave after the source was made: one decision a row, in git; for each image the last one wins."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.class_names import normal_form
from stages.graft.data.manifest import ManifestRow
from stages.graft.data.split_names import TRAIN
from stages.graft.storage.tables import write_csv

COLUMNS = ("id", "path", "label", "who", "when")
"""That the file must have."""

CHECKED, YES = "checked", "yes"
"""Column that it may have, and what is in it where a person has checked a label that was in doubt."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A label for an image."""

    id: str
    """SHA-256 of the image's bytes, hex; empty: the path names the image."""
    path: str
    """The image's path inside its source; with an id it only informs."""
    label: str
    """Class name, never empty."""
    who: str
    """Who says so; may be empty."""
    when: str
    """ISO 8601; may be empty."""
    is_checked: bool = False
    """Whether the label was in doubt, and a person has looked at it: it is not doubted again."""

    @property
    def image(self) -> str:
        """What names the image."""
        return self.id or self.path


@dataclass(frozen=True, kw_only=True)
class GivenLabels:
    """What decisions did to the images of a source."""

    num_decisions: int = 0
    """Rows of the file."""
    num_changed: int = 0
    """Labelled images that have another label now."""
    num_confirmed: int = 0
    """Labelled images whose label was given again."""
    num_new: int = 0
    """Images that had no label."""
    unknown: tuple[str, ...] = ()
    """Ids or paths of images that are not there."""
    conflicts: tuple[tuple[Decision, ...], ...] = ()
    """Decisions for one image with more than one label; the last one counts."""

    def record(self) -> dict[str, Any]:
        """Give what the report of ingest has of it, as JSON values."""
        return {
            "num_decisions": self.num_decisions,
            "num_changed": self.num_changed,
            "num_confirmed": self.num_confirmed,
            "num_new": self.num_new,
            "unknown": list(self.unknown),
            "conflicts": [[asdict(one) for one in decisions] for decisions in self.conflicts],
        }

    def lines(self) -> list[str]:
        """Describe it in lines; none without decisions."""
        if not self.num_decisions:
            return []
        counts = {"changed": self.num_changed, "confirmed": self.num_confirmed, "new": self.num_new,
                  "of images that are not there": len(self.unknown)}  # fmt: skip
        found = [f"labels given: {', '.join(f'{count} {name}' for name, count in counts.items() if count)}"]
        if self.conflicts:
            *_, before, last = self.conflicts[0]
            found.append(
                f"{len(self.conflicts)} images were given more than one label, and the last counts, such as "
                f"{last.path or last.id}: {before.label} ({before.who}), then {last.label} ({last.who})"
            )
        return found


NOTHING_GIVEN = GivenLabels()
"""Without decisions."""


def read_decisions(path: Path) -> list[Decision]:
    """Read the decisions, in the order in which they count: by time, those without one first, then as in the file.

    Raises:
        DataError: the file is missing or no such table, or a row has no label, or neither id nor path.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; `git checkout {path}` brings it back, or make one with the columns "
                        f"{','.join(COLUMNS)}") from None  # fmt: skip
    except ValueError as error:
        raise DataError(f"{path} cannot be read as CSV ({' '.join(str(error).split())})") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise DataError(f"{path}: columns missing: {', '.join(missing)}; expected {','.join(COLUMNS)}")
    found = [_decision(row, f"{path}, line {line}") for line, row in enumerate(table.to_dict("records"), 2)]
    return sorted(found, key=lambda decision: decision.when)


def write_decisions(decisions: Iterable[Decision], path: Path) -> None:
    """Write the file."""
    rows = [
        {name: getattr(one, name) for name in COLUMNS} | {CHECKED: YES if one.is_checked else ""} for one in decisions
    ]
    write_csv(pd.DataFrame(rows, columns=[*COLUMNS, CHECKED]), path)


def checked_rows(path: Path, images: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell for which images the last decision of a file is that of a person who checked the label, shape (n,).

    Args:
        path: the file.
        images: columns id and file; n rows.
    """
    last = {decision.image: decision.is_checked for decision in read_decisions(path)}
    named = zip(images["id"], images["file"], strict=True)
    return np.array([last.get(id_, last.get(file, False)) for id_, file in named], dtype=np.bool_)


def conflicts_among(decisions: Iterable[Decision]) -> tuple[tuple[Decision, ...], ...]:
    """Give the decisions for each image that was given more than one label."""
    by_image: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_image.setdefault(decision.image, []).append(decision)
    return tuple(tuple(some) for some in by_image.values() if len({one.label for one in some}) > 1)


def give_labels(
    decisions: Sequence[Decision], rows: Sequence[ManifestRow], unlabelled: Sequence[ManifestRow]
) -> tuple[list[ManifestRow], list[ManifestRow], GivenLabels]:
    """Give images the labels decided for them.

    An image that had no label is for training alone: it was not chosen at random, so a test with it would mislead.

    Args:
        decisions: in the order in which they count.
        rows: labelled images.
        unlabelled: images without a label.
    Returns:
        The labelled images, those still without a label, and what was done.
    """
    label_of = {decision.image: decision.label for decision in decisions}
    used = {key for row in (*rows, *unlabelled) for key in (row.id, row.file)}
    decided = [label_of.get(row.id, label_of.get(row.file, "")) for row in rows]
    changed = [replace(row, label=label or row.label) for row, label in zip(rows, decided, strict=True)]
    new_labels = [label_of.get(row.id, label_of.get(row.file, "")) for row in unlabelled]
    new = [replace(row, label=label, split=TRAIN) for row, label in zip(unlabelled, new_labels, strict=True) if label]
    num_changed = sum(row.label != before.label for row, before in zip(changed, rows, strict=True))
    given = GivenLabels(
        num_decisions=len(decisions),
        num_changed=num_changed,
        num_confirmed=sum(map(bool, decided)) - num_changed,
        num_new=len(new),
        unknown=tuple(sorted(label_of.keys() - used)),
        conflicts=conflicts_among(decisions),
    )
    return changed + new, [row for row, label in zip(unlabelled, new_labels, strict=True) if not label], given


def _decision(row: dict[Any, str], where: str) -> Decision:
    values = {name: str(row[name]).strip() for name in COLUMNS}
    if not values["label"]:
        raise DataError(f"{where}: the label is empty; remove the row, or give it a label")
    if not (values["id"] or values["path"]):
        raise DataError(f"{where}: neither id nor path names the image")
    is_checked = str(row.get(CHECKED, "")).strip().casefold() == YES
    values |= {"id": values["id"].lower(), "label": normal_form(values["label"])}
    return Decision(**values, is_checked=is_checked)
