"""Records in JSON files as the dataclasses that wrote them: every field is there, of its type and in its range."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from stages.graft.core.errors import DataError, printable
from stages.graft.storage.files import read_json

T = TypeVar("T")

MAX_SHOWN = 60
"""Characters of a wrong value in a message."""


def read_record(path: Path, adapter: "TypeAdapter[T]") -> T:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or no JSON, or a field is missing or not allowed; names the field.
    """
    return parse_record(read_json(path), adapter, path)


def parse_record(record: Any, adapter: "TypeAdapter[T]", path: Path) -> T:
    """Read JSON values; `path` is the file that they come from, for the message; errors are those of `read_record`."""
    try:
        return adapter.validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    key = printable(".".join(map(str, problem["loc"])))[:MAX_SHOWN]
    if problem["type"] == "missing":
        raise DataError(f"{path}: `{key}` is missing; fetch the file again, or make it again with `dvc repro`")
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    found = printable(repr(problem["input"]))[:MAX_SHOWN]
    raise DataError(f"{path}: `{key}` {message}, got {found}; fetch the file again, or make it again with `dvc repro`")
