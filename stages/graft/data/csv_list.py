"""A CSV list of images with the columns path and label, and optionally group and split."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import Candidate, Source, make_source
from stages.graft.data.class_folder import read_address
from stages.graft.data.splits import SPLITS, SYNONYMS
from stages.graft.storage.s3 import is_remote

_SHOWN = 3
"""Number of missing files that are named; the others are counted."""


def read_list(path: Path, name: str) -> Source:
    """Read a CSV list as a source; a relative path in it counts from the folder the list lies in, s3://… from nowhere.

    Args:
        path: the list, UTF-8 (with or without a byte-order mark), separated by commas, quoted where needed.
        name: of the source, for messages.
    Raises:
        DataError: it is not such a file, lacks a column, has a row without path or label or with an unknown split,
            or names files that do not exist.
    """
    candidates = [_candidate(row, path, f"{name}, line {line}") for line, row in _rows(path, name)]
    local = [candidate for candidate in candidates if not is_remote(candidate.address)]
    missing = [candidate.file for candidate in local if not Path(candidate.address).is_file()]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        shown = ", ".join(missing[:_SHOWN])
        raise DataError(f"{name}: no such file: {shown}{more}; relative paths count from {path.parent.absolute()}")
    return make_source(name, candidates)


def _rows(path: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="", skipinitialspace=True, strict=True)
            _check_columns([column.strip() for column in reader.fieldnames or ()], name)
            for row in reader:
                if "" in row:
                    raise DataError(f"{name}, line {reader.line_num}: more fields than columns; quote what has commas")
                yield reader.line_num, {column.strip(): value for column, value in row.items()}
    except UnicodeDecodeError:
        raise DataError(f"{name} is not UTF-8; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{name} is not a CSV file after line {reader.line_num}: {error}") from None


def _check_columns(columns: list[str], name: str) -> None:
    missing = [column for column in ("path", "label") if column not in columns]
    if missing:
        raise DataError(
            f"{name}: no column {' and no column '.join(missing)}; found {', '.join(columns) or 'nothing'}. "
            "Expected a first line `path,label`, if you like with `group` and `split`, separated by commas"
        )


def _candidate(row: dict[str, str], path: Path, where: str) -> Candidate:
    for column in ("path", "label"):
        if not row[column].strip():
            raise DataError(f"{where}: the {column} is empty")
    split = row.get("split", "").strip()
    if split and split.lower() not in SYNONYMS:
        raise DataError(f"{where}: split {split!r}; expected {', '.join(SPLITS)} or nothing")
    address = row["path"] if is_remote(row["path"]) else str(path.parent / row["path"])
    return Candidate(
        file=row["path"],
        label=row["label"].strip(),
        read=partial(read_address, address),
        group=row.get("group", "").strip(),
        split=SYNONYMS[split.lower()] if split else "",
        address=address,
        listed=True,
    )
