"""Arrays as safetensors and memory maps; equal content gives equal bytes."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stages.graft.core.errors import DataError, one_line, printable
from stages.graft.storage.files import atomic_path

Array = npt.NDArray[Any]

_SAFETENSORS_TYPES = {"float32": "F32", "uint8": "U8"}
"""Names that the format gives to the types of `rows_file`."""

_NUMPY_TYPES = {name: dtype for dtype, name in _SAFETENSORS_TYPES.items()}

ROWS_PER_BLOCK = 8192
"""Rows that are worked on at the same time where copies of all would not fit into memory."""

METADATA_KEY = "graft"
"""safetensors writes several metadata keys in no fixed order; one key holding sorted JSON keeps the bytes the same."""


def write_arrays(arrays: Mapping[str, Array], path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, with a JSON record as metadata."""
    header = {METADATA_KEY: json.dumps(metadata or {}, sort_keys=True)}
    with atomic_path(path) as temporary, usual_mode(temporary):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata=header)


@contextmanager
def usual_mode(path: Path) -> Iterator[None]:
    """Give a new file the usual permissions: safetensors lets only its owner read it, but stores are shared."""
    path.touch()
    mode = path.stat().st_mode & 0o777
    yield
    path.chmod(mode)


@contextmanager
def rows_file(
    path: Path, shapes: Mapping[str, tuple[npt.DTypeLike, tuple[int, int]]], metadata: Mapping[str, Any]
) -> Iterator[Callable[[str, int, Array], None]]:
    """Write the same bytes as `write_arrays`, some rows at a time: give `write(name, first_row, rows)`.

    Args:
        path: the safetensors file; it appears when all rows are written.
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
    """Give the header of a safetensors file, and the offset of each array after it; arguments as in `rows_file`."""
    # The format: length of the header, header as JSON padded to 8 bytes, then the arrays, wider types first.
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
    """Make an array on disk and reserve its space: a later write to a full disk would kill the process.

    Raises:
        OSError: the disk is full.
    """
    array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    if array.nbytes and hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def read_arrays(path: Path) -> dict[str, Array]:
    """Read every array of a safetensors file.

    Raises:
        DataError: the file is missing or incomplete, or a number in it is not finite: each comparison with NaN is
            false, so that an answer made of it would look sure.
    """
    with _open_safetensors(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for name, array in arrays.items():
        _check_finite(array, name, path)
    return arrays


def map_array(path: Path, name: str) -> Array:
    """Map an array of a safetensors file into memory: no copy of it is held, and it cannot be changed.

    Raises:
        DataError: as `read_arrays`.
    """
    with _open_safetensors(path), path.open("rb") as file:  # safetensors checks that the file is complete
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    dtype, shape, offset = _NUMPY_TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"][0]
    if not math.prod(shape):
        return np.empty(shape, dtype)
    array = np.asarray(np.memmap(path, dtype, "r", 8 + length + offset, shape))
    _check_finite(array, name, path)
    return array


def row_blocks(num_rows: int, size: int = ROWS_PER_BLOCK) -> Iterator[slice]:
    """Give the slices of so many rows and of the rest; one, empty, of no row."""
    for start in range(0, max(num_rows, 1), size):
        yield slice(start, min(start + size, num_rows))


def _check_finite(array: Array, name: str, path: Path) -> None:
    if not _is_finite(array):
        raise DataError(f"{path}: the numbers of {printable(name)} are not all finite; `dvc repro` makes it again")


def _is_finite(array: Array) -> bool:
    """Tell whether all numbers are finite; minimum and maximum are NaN when one number is, and need no memory."""
    if not array.size or array.dtype.kind != "f":
        return True
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the JSON record in a safetensors file's metadata; empty when it has none.

    Raises:
        DataError: the file is missing or incomplete, or its metadata is no JSON object.
    """
    with _open_safetensors(path) as file:
        record = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object as metadata, found {type(record).__name__}")
    return record


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (FileNotFoundError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as safetensors ({one_line(error)}); `dvc repro` makes it again"
        ) from None
