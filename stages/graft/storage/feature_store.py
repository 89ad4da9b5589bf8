"""The feature store: rows of features, kept per image and per fingerprint, outside what DVC deletes.

<store>/<fingerprint>/fingerprint.json       what the rows were computed with, readable
<store>/<fingerprint>/<sha256>.safetensors   a fragment: ids (n, 32) uint8 and features (n, d) float32; only ever added
<store>/.<fingerprint>.lock                  held by every process that has the rows open: nobody removes them then

The store is a folder or s3://…, where there are no locks. A fragment is named by the hash of its content and appears
whole, so that any number of processes may read and add at once; a row that two of them computed is there twice, with
the same bits. The time of fingerprint.json is when the rows were last opened.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import Ids, Packed, pack_ids
from stages.graft.core.threads import in_threads
from stages.graft.storage.arrays import METADATA_KEY, Array, rows_file, rows_header
from stages.graft.storage.feature_backends import SUFFIX, FeatureBackend, open_backend
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.row_index import NOWHERE, RowIndex

FORMAT = 1
"""Of the files; part of every fingerprint."""

METADATA = {METADATA_KEY: "{}"}
"""In a fragment's header."""

TYPES = ("F32", "U8")
"""Of features and ids, as the format names them: a fragment's name is a hash of their bytes alone."""

HEADER_BYTES = 1024
"""More than a fragment's header takes."""

Features = npt.NDArray[np.float32]


class FeatureStore:
    """The rows of one fingerprint; knows at the start which ids are there, and learns of those it adds."""

    def __init__(self, root: Path | str, record: Mapping[str, Any]) -> None:
        """Open, or begin, the rows computed with what `record` says.

        A fragment that cannot be read is named on stderr and set aside as `<name>.damaged`; its rows count as missing.

        Args:
            root: the store's folder, or s3://….
            record: everything that can change a bit of a feature, as JSON values.
        Raises:
            UnreachableError: the store is in S3, and cannot be had.
        """
        self.fingerprint = fingerprint_of(record)
        self.shelf = open_backend(root, self.fingerprint)
        self.shelf.begin(record, self)
        self._index, self._fragments = RowIndex(), list[str]()
        names = self.shelf.names()
        for name, ids in zip(names, in_threads(self._looked_up, names, self.shelf.num_readers), strict=True):
            self._take_in(name, ids)

    def missing(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids, in their order, whose rows are not here; packed when the ids are."""
        packed = pack_ids(ids)
        lacking = self._index.find(packed)[:, 0] == NOWHERE
        return Ids(packed[lacking]) if isinstance(ids, Ids) else list(compress(ids, lacking))

    def add(self, ids: Sequence[str], features: Features) -> None:
        """Add rows: n ids and features of shape (n, d), float32."""
        self.learn(write_fragment(self.shelf, ids, features))

    def learn(self, name: str) -> None:
        """Take in a fragment that was written after the store was opened."""
        self._take_in(name, self._looked_up(name))

    def pack(self, ids: Sequence[str], path: Path, metadata: Mapping[str, Any]) -> int:
        """Write rows in the order of the ids to one file, as `features.write_features` does, in bounded memory.

        One fragment at a time is read, checked and scattered to its rows' places; every id must be here.

        Returns:
            d, the number of features in a row.
        Raises:
            DataError: a fragment has disappeared since it was opened, or its bytes have changed; nothing is left at
                `path` then.
        """
        num_features = _num_features(self.shelf, self._fragments[self._places(ids[:1])[0, 0]])
        shapes = {"features": (np.float32, (len(ids), num_features)), "ids": (np.uint8, (len(ids), 32))}
        with rows_file(path, shapes, metadata) as write:
            write("ids", 0, pack_ids(ids))
            for rows, features in self._rows_by_fragment(ids):
                for start, stop in _runs(rows):
                    write("features", int(rows[start]), features[start:stop])
        return num_features

    def _rows_by_fragment(self, ids: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """For each fragment: which of the rows wanted it holds, ascending, and their features."""
        places = self._places(ids)
        order = np.argsort(places[:, 0], kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(places[order, 0])) + 1):
            if len(rows):
                yield rows, _read_whole(self.shelf, self._fragments[places[rows[0], 0]])[places[rows, 1]]

    def _places(self, ids: Sequence[str]) -> npt.NDArray[np.int32]:
        """The number of a fragment and a row in it for each id; every id must be here."""
        places = self._index.find(pack_ids(ids))
        lacking = np.flatnonzero(places[:, 0] == NOWHERE)
        if len(lacking):
            raise KeyError(ids[int(lacking[0])])
        return places

    def _looked_up(self, name: str) -> Packed | DataError:
        """The ids of a fragment, or why they cannot be read."""
        try:
            return _ids(self.shelf, name)
        except DataError as error:
            return error

    def _take_in(self, name: str, ids: Packed | DataError) -> None:
        if isinstance(ids, DataError):
            print(f"store: {ids}; set aside, its rows are computed again", file=sys.stderr)
            self.shelf.set_aside(name)
            return
        self._index.add(ids, len(self._fragments))
        self._fragments.append(name)


def write_fragment(shelf: FeatureBackend, ids: Sequence[str], features: Features) -> str:
    """Write rows as a fragment, whole or not at all, and give its name; the same rows give the same file.

    Args:
        shelf: of the fingerprint.
        ids: n of them.
        features: shape (n, d), float32.
    """
    if len(ids) != len(features):
        raise ValueError(f"{len(ids)} ids, but {len(features)} rows of features")
    packed, rows = pack_ids(ids), np.ascontiguousarray(features, np.float32)
    header, _ = rows_header({"features": (np.float32, rows.shape), "ids": (np.uint8, packed.shape)}, {})
    name = _name(packed, rows)
    shelf.write(name, [header, rows.data, packed.data])
    return name


def fragment_problem(shelf: FeatureBackend, name: str) -> str | None:
    """Say what is wrong with a fragment, down to a single byte; None when nothing is."""
    try:
        _read_whole(shelf, name)
        header, _ = _header(shelf, name)
    except DataError as error:
        return str(error)
    is_ours = header.get("__metadata__") == METADATA
    return None if is_ours else f"fragment {shelf.at(name)} is damaged: its header has changed"


def _runs(rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut ascending row numbers where one is left out: starts and ends of the unbroken runs."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True)


def _name(ids: Packed, features: Features) -> str:
    digest = hashlib.sha256(ids.data)
    digest.update(features.data)
    return f"{digest.hexdigest()[:32]}{SUFFIX}"


def _read_whole(shelf: FeatureBackend, name: str) -> Features:
    where = shelf.at(name)
    with _as_fragment(where):
        data = shelf.read(name)
        header, start = _parsed(data)
        features, ids = (_array(data, header[key], start) for key in ("features", "ids"))
    is_whole = start + features.nbytes + ids.nbytes == len(data)
    if not is_whole or (header["features"]["dtype"], header["ids"]["dtype"]) != TYPES or _name(ids, features) != name:
        raise DataError(f"fragment {where} is damaged: its bytes do not fit its name; delete it and run again")
    return features


def _ids(shelf: FeatureBackend, name: str) -> Packed:
    """A fragment's ids, and not its features: the header says where in the file they are."""
    header, start = _header(shelf, name)
    with _as_fragment(shelf.at(name)):
        first, last = header["ids"]["data_offsets"]
        return _array(shelf.read(name, start + first, start + last), header["ids"], -first)


def _num_features(shelf: FeatureBackend, name: str) -> int:
    header, _ = _header(shelf, name)
    with _as_fragment(shelf.at(name)):
        return int(header["features"]["shape"][1])


def _header(shelf: FeatureBackend, name: str) -> tuple[dict[str, Any], int]:
    with _as_fragment(shelf.at(name)):
        return _parsed(shelf.read(name, 0, HEADER_BYTES))


def _parsed(data: bytes) -> tuple[dict[str, Any], int]:
    """What safetensors writes first: its length in eight bytes, then JSON; and where the arrays start."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length])), 8 + length


def _array(data: bytes, entry: Mapping[str, Any], start: int) -> Array:
    """An array of a fragment, in the bytes themselves: a copy would double the memory."""
    first, last = entry["data_offsets"]
    dtype = np.dtype(np.float32 if entry["dtype"] == TYPES[0] else np.uint8)
    return np.frombuffer(data, dtype, (last - first) // dtype.itemsize, start + first).reshape(entry["shape"])


@contextmanager
def _as_fragment(where: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"fragment {where} cannot be read ({error})") from None
