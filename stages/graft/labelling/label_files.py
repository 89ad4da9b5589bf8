"""Files that people fill in, and the labels in them: suggestions, doubtful labels, exports of Label Studio."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.class_names import normal_form
from stages.graft.data.given_labels import Decision
from stages.graft.labelling.label_studio import read_export
from stages.graft.storage.spreadsheets import from_spreadsheet

RIGHT, WRONG = "right", "wrong"
"""Marks for a doubtful label; any other mark is the name of the class."""

_SEPARATORS = (",", ";", "\t")
"""Of a CSV file; spreadsheets write all three."""


@dataclass(frozen=True, kw_only=True)
class Added:
    """What an import adds."""

    decisions: tuple[Decision, ...]
    """New ones."""
    num_known: int
    """Labels that were there already."""


def read_filled(path: Path, who: str, when: str) -> list[Decision]:
    """Read the labels that a person filled in; rows without one are passed over.

    Args:
        path: a CSV of suggestions or of doubtful labels, or an export of Label Studio in JSON.
        who, when: where the file does not say it.
    Raises:
        DataError: the file is none of these, or a row cannot be understood.
    """
    if path.suffix.lower() == ".json":
        found: Iterable[Decision] = read_export(_read_json(path), str(path))
    else:
        found = _read_rows(path)
    return [
        replace(one, label=normal_form(one.label), who=one.who or who, when=_seconds(one.when) or when) for one in found
    ]


def new_decisions(filled: Sequence[Decision], known: Iterable[Decision]) -> Added:
    """Leave out what is the last decision for its image already; that a label was checked is new."""
    last = {decision.image: decision for decision in known}
    added = []
    for decision in filled:
        before = last.get(decision.image)
        if before is None or before.label != decision.label or decision.is_checked > before.is_checked:
            added.append(decision)
            last[decision.image] = decision
    return Added(decisions=tuple(added), num_known=len(filled) - len(added))


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error})") from None


def _read_rows(path: Path) -> Iterator[Decision]:
    table = read_sheet(path)
    names = [name for name in ("id", "path", "file") if name in table]
    if not names or not {"label", "mark"} & {*table}:
        found = ", ".join(map(str, table)) or "nothing"
        raise DataError(f"{path}: expected the columns id or path, and label or mark, found {found}")
    for line, row in enumerate(table.to_dict("records"), 2):
        values = {str(name): from_spreadsheet(str(value).strip()) for name, value in row.items()}
        label = _marked(values, f"{path}, line {line}") if "mark" in values else values["label"]
        if label:
            path_of = values.get("path") or values.get("file", "")
            yield Decision(
                id=values.get("id", "").lower(), path=path_of, label=label,
                who=values.get("who", ""), when=values.get("when", ""), is_checked="mark" in values,
            )  # fmt: skip


def read_sheet(path: Path) -> pd.DataFrame:
    """Read a CSV as spreadsheets write it: commas, semicolons or tabs, with or without a byte-order mark; all text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = max(_SEPARATORS, key=file.readline().count)
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except ValueError as error:
        raise DataError(
            f"{path} cannot be read as CSV ({' '.join(str(error).split())}); save it as CSV UTF-8"
        ) from None


def _marked(values: Mapping[str, str], where: str) -> str:
    """Give the label that a mark means: the present one, the suggested one, or the class that it names."""
    mark = values["mark"]
    column = {RIGHT: "label", WRONG: "suggested"}.get(mark.casefold())
    if column is None:
        return mark
    if not values.get(column):
        raise DataError(f"{where}: the mark is `{mark}`, and there is no column {column}; write the class instead")
    return values[column]


def _seconds(when: str) -> str:
    """Cut fractions of a second: 2026-01-02T03:04:05.678Z."""
    start, dot, rest = when.partition(".")
    return f"{start}{rest.lstrip('0123456789')}" if dot else when
