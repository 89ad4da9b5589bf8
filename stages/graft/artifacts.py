"""Files other stages read: written whole under a temporary name, then renamed; equal content gives equal bytes.

The temporary name, `.<name>.<host>-<process>-<random>.tmp`, says who writes: what a killed process left is removed by
the next one on the same computer that writes into the same folder.
"""

import functools
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stages.graft.errors import DataError
from stages.graft.processes import is_gone, this_host, this_process

Array = npt.NDArray[Any]

_SAFETENSORS_TYPES = {"float32": "F32", "uint8": "U8"}
"""The format's names of the types `rows_file` is asked for."""

METADATA_KEY = "graft"
"""safetensors writes several metadata keys in no fixed order; one key holding sorted JSON keeps the bytes the same."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    What is written may be a file or a folder. A folder already at `path` is replaced.
    """
    with _temporary(path) as temporary:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Give an empty folder in `parent`, removed in the end, or by a later process when this one is killed."""
    with _temporary(parent / name) as temporary:
        temporary.mkdir()
        yield temporary


def left_behind(folder: Path) -> list[Path]:
    """List what killed processes of this computer were writing in a folder."""
    with os.scandir(folder) as entries:
        names = [(entry.name, _TEMPORARY.search(entry.name)) for entry in entries]
    return [folder / name for name, writer in names if writer and writer[1] == _host() and is_gone(writer[2])]


_TEMPORARY = re.compile(r"^\..*\.([0-9a-f]{8})-(\d+@\d*)-[0-9a-f]{8}\.tmp$", re.DOTALL)
"""A temporary name: its host and its process."""


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.absolute(), os.getpid())
    temporary = path.with_name(f".{_shortened(path.name)}.{_writer()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        _remove(temporary)


def _writer() -> str:
    """This process, as temporary names tell it: two writers never share one."""
    return f"{_host()}-{this_process()}"


@functools.cache
def _host() -> str:
    return hashlib.sha256(this_host().encode()).hexdigest()[:8]


def _shortened(name: str) -> str:
    """A file's name may be as long as the file system allows; the temporary one is longer."""
    return name.encode()[:120].decode(errors="ignore")


@functools.cache
def _sweep(folder: Path, process: int) -> None:
    """Remove what killed processes were writing in a folder; each process looks once."""
    for path in left_behind(folder):
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or folder; another process may be doing the same."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a UTF-8 text file with Unix line ends."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as indented JSON, its keys in the order given."""
    write_text(json_text(record), path)


def json_text(record: Mapping[str, Any]) -> str:
    """Give a record as `write_json` writes it."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON record.

    Raises:
        DataError: the file is missing or is not a JSON object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); `dvc repro` makes it anew") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(record).__name__}")
    return record


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV without its index; floats keep their shortest exact form."""
    write_text(table.to_csv(index=False, lineterminator="\n"), path)


def write_arrays(arrays: Mapping[str, Array], path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, with a JSON record as metadata."""
    header = {METADATA_KEY: json.dumps(metadata or {}, sort_keys=True)}
    with atomic_path(path) as temporary, usual_mode(temporary):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata=header)


@contextmanager
def usual_mode(path: Path) -> Iterator[None]:
    """Let those read a new file who can read others: safetensors leaves it to its owner, and stores are shared."""
    path.touch()
    mode = path.stat().st_mode & 0o777
    yield
    path.chmod(mode)


@contextmanager
def rows_file(
    path: Path, shapes: Mapping[str, tuple[npt.DTypeLike, tuple[int, int]]], metadata: Mapping[str, Any]
) -> Iterator[Callable[[str, int, Array], None]]:
    """Write the bytes of `write_arrays` without ever holding them: give `write(name, first_row, rows)`.

    Args:
        path: the safetensors file; appears whole, when every row has been written.
        shapes: type and shape of each two-dimensional array.
        metadata: a JSON record.
    """
    header, offsets = rows_header(shapes, metadata)
    widths = {name: num_columns * np.dtype(dtype).itemsize for name, (dtype, (_, num_columns)) in shapes.items()}
    end = sum(num_rows * widths[name] for name, (_, (num_rows, _)) in shapes.items())
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        start = file.tell()

        def write(name: str, first_row: int, rows: Array) -> None:
            file.seek(start + offsets[name] + first_row * widths[name])
            file.write(np.ascontiguousarray(rows, dtype=shapes[name][0]).data)

        yield write
        file.truncate(start + end)


def rows_header(
    shapes: Mapping[str, tuple[npt.DTypeLike, tuple[int, int]]], metadata: Mapping[str, Any]
) -> tuple[bytes, dict[str, int]]:
    """Give what a safetensors file begins with, and how far behind it each array does.

    Args:
        shapes: type and shape of each two-dimensional array.
        metadata: a JSON record.
    """
    # The format: length of the header, header as JSON padded to 8 bytes, then the arrays, those of wider types first.
    names = sorted(shapes, key=lambda name: (-np.dtype(shapes[name][0]).itemsize, name))
    entries: dict[str, Any] = {"__metadata__": {METADATA_KEY: json.dumps(metadata, sort_keys=True)}}
    end, offsets = 0, dict[str, int]()
    for name in names:
        dtype, (num_rows, num_columns) = np.dtype(shapes[name][0]), shapes[name][1]
        offsets[name] = end
        end += num_rows * num_columns * dtype.itemsize
        entries[name] = {
            "dtype": _SAFETENSORS_TYPES[dtype.name],
            "shape": [num_rows, num_columns],
            "data_offsets": [offsets[name], end],
        }
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header, offsets


def array_file(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[Any]]":
    """Make an array on disk, all of its room taken: a write through memory to a full disk would end the process.

    Raises:
        OSError: there is no room.
    """
    array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    if array.nbytes and hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def read_arrays(path: Path) -> dict[str, Array]:
    """Read every array of a safetensors file.

    Raises:
        DataError: the file is missing or is not whole.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (FileNotFoundError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors ({error}); `dvc repro` makes it anew") from None


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the JSON record a safetensors file was written with; empty when it has none.

    Raises:
        DataError: the file is missing or is not whole.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except (FileNotFoundError, SafetensorError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors ({error}); `dvc repro` makes it anew") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object as metadata, found {type(record).__name__}")
    return record
