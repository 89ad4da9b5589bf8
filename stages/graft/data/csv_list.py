"""A CSV list of images: a column of paths, one of labels, and optionally of groups and splits."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import READ_SUFFIXES, Candidate, Source, make_source, readable_name, with_slashes
from stages.graft.data.class_folder import read_address, read_file
from stages.graft.data.class_names import check_label, normal_form
from stages.graft.data.label_rules import DEFAULT_COLUMNS, USUAL, ColumnsParams, LabelRules, grouped, labelled
from stages.graft.data.split_names import TEST, TRAIN, VAL, split_named
from stages.graft.storage.s3 import is_remote

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_SHOWN = 3
"""Number of missing files that are named; the others are counted."""

Row = dict[str, str]
"""The text of a row by our names of the columns: path, label, group, split."""


def read_list(path: Path, name: str, rules: LabelRules = USUAL) -> Source:
    """Read a list as a source; a relative path counts from the list's folder or `columns.root`, s3://… from nowhere.

    Args:
        path: the list, UTF-8 or UTF-16, separated by commas, semicolons or tabs, quoted where needed.
        name: of the source, for messages.
        rules: the names of the columns; patterns, where labels or groups are not in a column.
    Raises:
        DataError: it is not such a file, lacks a column, has a row without path or label or with an unknown split,
            or names files that do not exist.
    """
    columns = rules.columns
    needed = ("path",) if rules.label_pattern or not rules.needs_labels else ("path", "label")
    folder = columns.root or str(path.parent)
    candidates = [
        _candidate(row, needed, columns.suffix or "", folder, f"{name}, line {line}")
        for line, row in _rows(_text(path, name), columns, needed, name)
    ]
    _check_files(candidates, columns, folder, name)
    candidates = list(grouped(labelled(candidates, rules, name), rules, name))
    return make_source(name, candidates, unwatched={candidate.address for candidate in candidates})


def _text(path: Path, name: str) -> str:
    """Decode a list; UTF-16 is known by its byte-order mark or its zero bytes."""
    try:
        data = read_file(path)
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name}, line {line}, is not {'UTF-8' if encoding == 'utf-8-sig' else 'UTF-16'}, perhaps Windows-1252 as "
            "Excel's plain CSV is; save it as CSV UTF-8"
        ) from None


def _rows(text: str, columns: ColumnsParams, needed: Sequence[str], name: str) -> Iterator[tuple[int, Row]]:
    """Give each row that is not blank, with the number of its line."""
    separator = max(_SEPARATORS, key=lambda separator: _rank(text, separator, columns))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        places = _places(header, columns, needed, name)
        for row in reader:
            if any(field.strip() for field in row[len(header) :]):
                quote = f"quote what has {_SEPARATORS[separator]}"
                raise DataError(f"{name}, line {reader.line_num}: more fields than columns; {quote}")
            if any(field.strip() for field in row):
                yield reader.line_num, {key: row[at] if at < len(row) else "" for key, at in places.items()}
    except csv.Error as error:
        raise DataError(f"{name} is not a CSV file up to line {reader.line_num}: {error}") from None


def _rank(text: str, separator: str, columns: ColumnsParams) -> tuple[int, int]:
    """Say how well a separator fits the first line: wanted columns that it finds, then all columns."""
    header = [column.strip().casefold() for column in next(csv.reader(text.splitlines()[:1], delimiter=separator), [])]
    wanted = (columns.path, columns.label, columns.group, columns.split)
    return sum(column is not None and column.casefold() in header for column in wanted), len(header)


def _places(header: list[str], columns: ColumnsParams, needed: Sequence[str], name: str) -> dict[str, int]:
    """Find our columns by their names in the first line; case counts only where two differ in nothing else."""
    places, missing = dict[str, int](), []
    for key, wanted in columns.model_dump(include={"path", "label", "group", "split"}).items():
        same = [at for at, column in enumerate(header) if column == wanted]
        alike = same or [at for at, column in enumerate(header) if wanted and column.casefold() == wanted.casefold()]
        if len(alike) > 1:
            raise DataError(f"{name} has {len(alike)} columns `{wanted}`; name one of them otherwise")
        if alike:
            places[key] = alike[0]
        elif key in needed or wanted not in (None, getattr(DEFAULT_COLUMNS, key)):
            missing.append(f"column {wanted}")
    if missing:
        raise DataError(
            f"{name}: no {' and no '.join(missing)}; found {', '.join(filter(None, header)) or 'nothing'}. Expected a "
            "first line `path,label`, if you like with `group` and `split`; `ingest.columns` takes other names"
        )
    return places


def _candidate(row: Row, needed: Sequence[str], suffix: str, folder: str, where: str) -> Candidate:
    for column in needed:
        if not row[column].strip():
            raise DataError(f"{where}: the {column} is empty")
    written = row.get("split", "").strip()
    split = split_named(written) if written else ""
    if split is None:
        raise DataError(f"{where}: split {written!r}; expected {TRAIN}, {VAL}, {TEST} or nothing")
    check_label(row.get("label", "").strip(), where)
    file = row["path"] if row["path"].lower().endswith(suffix.lower()) else row["path"] + suffix
    if not _is_there(folder, file):
        file = with_slashes(file.strip())
    address = _address(folder, file)
    return Candidate(
        file=file,
        label=normal_form(row.get("label", "").strip()),
        read=partial(read_address, address),
        group=normal_form(row.get("group", "").strip()),
        split=split,
        address=address,
        listed=True,
    )


def _address(folder: str, file: str) -> str:
    if is_remote(file):
        return file
    return f"{folder.rstrip('/')}/{file}" if is_remote(folder) else str(Path(folder) / file)


def _is_there(folder: str, file: str) -> bool:
    address = _address(folder, file)
    return is_remote(address) or os.path.isfile(address)  # which is False for a path that no system takes


def _check_files(candidates: Iterable[Candidate], columns: ColumnsParams, folder: str, name: str) -> None:
    missing = [candidate.file for candidate in candidates if not _is_there(folder, candidate.file)]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        shown = ", ".join(map(readable_name, missing[:_SHOWN]))
        raise DataError(f"{name}: no such file: {shown}{more}; {_advice(missing[0], columns, Path(folder))}")


def _advice(file: str, columns: ColumnsParams, folder: Path) -> str:
    """Look for the file with a suffix, and in the folders beside the list."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for root in (folder, *inner):
        for suffix in ("", *sorted(READ_SUFFIXES)):
            if os.path.isfile(root / f"{file}{suffix}"):
                found = [f"`ingest.columns.suffix: {suffix}`"] if suffix else []
                found += [f"`ingest.columns.root: {root}`"] if root != folder else []
                return f"{root / file}{suffix} is there: set {' and '.join(found)}"
    return f"relative paths count from {folder.absolute()}; `ingest.columns.root` takes another folder"
