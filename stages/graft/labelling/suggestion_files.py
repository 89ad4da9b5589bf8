"""The files of suggestions: a table for a spreadsheet, and tasks for Label Studio. Letters: n suggestions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.given_labels import Decision
from stages.graft.labelling.label_files import read_sheet
from stages.graft.labelling.label_studio import labelling_config, make_task
from stages.graft.storage.files import write_text
from stages.graft.storage.tables import write_report_csv

COLUMNS = ("id", "path", "label", "guess", "second", "cluster", "reason")
"""Of the table; a person fills in the label."""


@dataclass(frozen=True, kw_only=True)
class SuggestionFiles:
    """Where the files are."""

    table: Path
    """For a spreadsheet, CSV."""
    page: Path
    """To look at, HTML."""
    tasks: Path
    """For Label Studio, JSON."""
    config: Path
    """Label Studio's labelling configuration, XML."""

    @classmethod
    def beside(cls, table: Path) -> "SuggestionFiles":
        """Name the other files after the table."""
        page, tasks, config = (table.with_suffix(suffix) for suffix in (".html", ".json", ".xml"))
        return cls(table=table, page=page, tasks=tasks, config=config)


def check_imported(table: Path, known: Sequence[Decision]) -> None:
    """Refuse to replace a table with labels that were filled in and not imported.

    Raises:
        DataError: names the table and what to do.
    """
    if not table.exists():
        return
    sheet, images = read_sheet(table), {decision.image for decision in known}
    if not {"id", "label"} <= {*sheet}:
        raise DataError(f"{table} is there and holds no suggestions; give another file with --out")
    filled = sheet["id"][(sheet["label"].str.strip() != "") & ~sheet["id"].isin(images)]
    if len(filled):
        raise DataError(
            f"{table} has {len(filled)} labels that are not imported: `graft labels import {table}` takes them, "
            "or give another file with --out"
        )


def write_files(
    table: pd.DataFrame, classes: Sequence[str], picture: Callable[[str], str | None], files: SuggestionFiles
) -> None:
    """Write the table and the files for Label Studio.

    Args:
        table: COLUMNS, n rows.
        classes: names of the classes that are known.
        picture: from an image's id to its picture as a data address.
        files: where.
    """
    write_report_csv(table, files.table)
    tasks = [
        make_task(row["id"], row["path"], picture(row["id"]) or "", row["guess"]) for row in table.to_dict("records")
    ]
    write_text(json.dumps(tasks, indent=1, ensure_ascii=False) + "\n", files.tasks)
    write_text(labelling_config(classes), files.config)
