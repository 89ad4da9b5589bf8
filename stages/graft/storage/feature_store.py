"""The feature store: rows of features, kept per image and per fingerprint, outside what DVC deletes.

<store>/<fingerprint>/fingerprint.json       what the rows were computed with, readable
<store>/<fingerprint>/<sha256>.safetensors   a fragment: ids (n, 32) uint8 and features (n, d) float32
<store>/.<fingerprint>.lock                  shared by every process that has the rows open, which keeps them in place

The store is a folder or s3://…, where there are no locks. A fragment is named by the hash of its content, appears whole
and never changes, so that any number of processes may read and add at the same time; a row that two of them computed is
there twice, with the same bits. The time of fingerprint.json is when the rows were last opened.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import Ids, Packed, pack_ids
from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.storage.arrays import METADATA_KEY, Array, rows_file, rows_header
from stages.graft.storage.feature_backends import SUFFIX, FeatureBackend, open_backend
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.row_index import NOT_FOUND, RowIndex

FORMAT = 1
"""Version of the files; part of every fingerprint."""

METADATA = {METADATA_KEY: "{}"}
"""Metadata in a fragment's header."""

TYPES = ("F32", "U8")
"""Types of features and ids in a fragment's header, which its name does not cover."""

HEADER_BYTES = 1024
"""More than the header of a fragment takes."""

Features = npt.NDArray[np.float32]


class FeatureStore:
    """The rows of one fingerprint; it knows the ids found when it was opened and those added since."""

    def __init__(self, root: Path | str, record: Mapping[str, Any]) -> None:
        """Open the rows computed with what `record` says, or begin them.

        A fragment that cannot be read is named on stderr and renamed to `<name>.damaged`; its rows count as missing.

        Args:
            root: the store's folder, or s3://….
            record: everything that can change a bit of a feature, as JSON values.
        Raises:
            UnreachableError: the store is in S3 and cannot be read or written.
        """
        self.fingerprint = fingerprint_of(record)
        self.backend = open_backend(root, self.fingerprint)
        self.backend.begin(record, self)
        self._index, self._fragments, self._checked = RowIndex(), list[Fragment](), set[int]()
        fragments = [Fragment(self.backend, name) for name in self.backend.names()]
        all_ids = in_threads(_ids_or_error, fragments, self.backend.num_readers)
        for fragment, ids in zip(fragments, all_ids, strict=True):
            self._index_fragment(fragment, ids)

    def missing(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the ids without a row, in their order; packed when the ids are.

        The fragments that have the other rows are read and checked: a damaged one is set aside, as when it is opened.
        """
        packed = pack_ids(ids)
        self._check(np.unique(self._index.find(packed)[:, 0]).tolist())
        is_missing = self._index.find(packed)[:, 0] == NOT_FOUND
        return Ids(packed[is_missing]) if isinstance(ids, Ids) else list(compress(ids, is_missing))

    def _check(self, numbers: Sequence[int]) -> None:
        """Check fragments, each once; forget damaged ones."""
        unchecked = [number for number in numbers if number != NOT_FOUND and number not in self._checked]
        fragments = [self._fragments[number] for number in unchecked]
        problems = in_threads(Fragment.problem, fragments, max(num_cpus(), self.backend.num_readers))
        for number, problem in zip(unchecked, problems, strict=True):
            if problem is not None:
                self._set_aside(self._fragments[number], problem)
                self._index.forget(number)
        self._checked.update(unchecked)

    def add(self, ids: Sequence[str], features: Features) -> None:
        """Add rows: n ids and features of shape (n, d), float32."""
        self.add_fragment(write_fragment(self.backend, ids, features))

    def add_fragment(self, name: str) -> None:
        """Add the rows of a fragment that was written after the store was opened."""
        fragment = Fragment(self.backend, name)
        self._index_fragment(fragment, _ids_or_error(fragment))

    def pack(self, ids: Sequence[str], path: Path, metadata: Mapping[str, Any]) -> int:
        """Write the rows of the ids, in their order, to one packed features file.

        One fragment at a time is read, checked and copied, so that memory stays bounded. Every id must have a row.

        Returns:
            d, the number of features in a row.
        Raises:
            DataError: a fragment has disappeared or changed since the store was opened; no file is written then.
        """
        num_features = self._fragments[int(self._locate(ids[:1])[0, 0])].num_features()
        shapes = {"features": (np.float32, (len(ids), num_features)), "ids": (np.uint8, (len(ids), 32))}
        with rows_file(path, shapes, metadata) as write:
            write("ids", 0, pack_ids(ids))
            for rows, features in self._rows_by_fragment(ids):
                for start, stop in _runs(rows):
                    write("features", int(rows[start]), features[start:stop])
        return num_features

    def _rows_by_fragment(self, ids: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """For each fragment, the positions of its ids among the given ones, ascending, and their features."""
        locations = self._locate(ids)
        order = np.argsort(locations[:, 0], kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(locations[order, 0])) + 1):
            if len(rows):
                yield rows, self._fragments[locations[rows[0], 0]].read_features()[locations[rows, 1]]

    def _locate(self, ids: Sequence[str]) -> npt.NDArray[np.int32]:
        """The number of the fragment and the row in it for each id, shape (n, 2); every id must have a row."""
        locations = self._index.find(pack_ids(ids))
        missing = np.flatnonzero(locations[:, 0] == NOT_FOUND)
        if len(missing):
            raise KeyError(ids[int(missing[0])])
        return locations

    def _index_fragment(self, fragment: "Fragment", ids: Packed | DataError) -> None:
        if isinstance(ids, DataError):
            self._set_aside(fragment, str(ids))
            return
        self._index.add(ids, len(self._fragments))
        self._fragments.append(fragment)

    def _set_aside(self, fragment: "Fragment", problem: str) -> None:
        print(f"store: {problem}; set aside, its rows are computed again", file=sys.stderr)
        self.backend.set_aside(fragment.name)


def write_fragment(backend: FeatureBackend, ids: Sequence[str], features: Features) -> str:
    """Write n ids and features of shape (n, d), float32, as a fragment; give its name, the hash of them."""
    if len(ids) != len(features):
        raise ValueError(f"{len(ids)} ids, but {len(features)} rows of features")
    packed, rows = pack_ids(ids), np.ascontiguousarray(features, np.float32)
    header, _ = rows_header({"features": (np.float32, rows.shape), "ids": (np.uint8, packed.shape)}, {})
    name = _name(packed, rows)
    backend.write(name, [header, rows.data, packed.data])
    return name


@dataclass(frozen=True)
class Fragment:
    """A file of the store; methods raise DataError when it cannot be read."""

    backend: FeatureBackend
    """Gives its bytes."""
    name: str
    """Its file's name."""

    def read_ids(self) -> Packed:
        """Read the ids without the features."""
        header, start = self._read_header()
        with self._errors():
            first, last = header["ids"]["data_offsets"]
            return _array(self.backend.read(self.name, start + first, start + last), header["ids"], -first)

    def num_features(self) -> int:
        """Read d, the number of features in a row."""
        header, _ = self._read_header()
        with self._errors():
            return int(header["features"]["shape"][1])

    def read_features(self) -> Features:
        """Read the features, shape (n, d), and check all bytes against the name."""
        with self._errors():
            data = self.backend.read(self.name)
            header, start = _parse_header(data)
            features, ids = (_array(data, header[key], start) for key in ("features", "ids"))
            types = (header["features"]["dtype"], header["ids"]["dtype"])
        is_complete = start + features.nbytes + ids.nbytes == len(data)
        if not is_complete or types != TYPES or _name(ids, features) != self.name:
            address = self.backend.address(self.name)
            raise DataError(f"fragment {address} is damaged: its bytes do not fit its name")
        return features

    def problem(self) -> str | None:
        """Say what is wrong with the fragment, down to a single byte; None when nothing is."""
        try:
            self.read_features()
            header, _ = self._read_header()
        except DataError as error:
            return str(error)
        if header.get("__metadata__") == METADATA:
            return None
        return f"fragment {self.backend.address(self.name)} is damaged: its header has changed"

    def _read_header(self) -> tuple[dict[str, Any], int]:
        with self._errors():
            return _parse_header(self.backend.read(self.name, 0, HEADER_BYTES))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"fragment {self.backend.address(self.name)} cannot be read ({error})") from None


def _ids_or_error(fragment: Fragment) -> Packed | DataError:
    try:
        return fragment.read_ids()
    except DataError as error:
        return error


def _runs(rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Starts and ends of the runs of consecutive numbers among ascending ones."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True)


def _name(ids: Packed, features: Features) -> str:
    digest = hashlib.sha256(ids.data)
    digest.update(features.data)
    return f"{digest.hexdigest()[:32]}{SUFFIX}"


def _parse_header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header that begins a safetensors file, its length in eight bytes before it; and where the arrays start."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length])), 8 + length


def _array(data: bytes, entry: Mapping[str, Any], start: int) -> Array:
    """A view of an array in the bytes; a copy would double the memory."""
    first, last = entry["data_offsets"]
    dtype = np.dtype(np.float32 if entry["dtype"] == TYPES[0] else np.uint8)
    return np.frombuffer(data, dtype, (last - first) // dtype.itemsize, start + first).reshape(entry["shape"])
