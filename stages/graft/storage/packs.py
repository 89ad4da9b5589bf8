"""Packs: many files in a few zip archives, uncompressed, which any program opens; an index says where each file is.

DVC hashes, moves and links each file of a folder by itself, however small it is. So files are packed, in the order in
which they are given. A pack ends after a file whose hash says so: the same files give the same bytes, and a new or
removed file changes the pack it is in, at most the next one too. The hash of a large file says so more often, so that
no pack is much larger than BYTES_PER_PACK.

Source: Muthitacharoen et al., A low-bandwidth network file system, SOSP 2001 (boundaries that the content defines).
"""

import os
import struct
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, Self

import numpy as np
import pandas as pd

from stages.graft.core.errors import DataError, one_line
from stages.graft.core.image_ids import as_keys, pack_ids
from stages.graft.storage.files import atomic_path
from stages.graft.storage.regular_files import read_part
from stages.graft.storage.tables import read_shards, texts, write_table

FILES_PER_PACK, BYTES_PER_PACK = 256, 2**25
"""Expected number and size of the files in a pack, whichever comes first."""

MAX_FILES, MAX_BYTES = 2**15, 2**31
"""A pack that has as much ends in any case: a zip file without extensions holds 65,535 files and 4 GiB."""

WAITING_BYTES = 2**20
"""A larger file waits on disk for its turn."""

INDEX = "index.csv"
"""Name of the index, a table with the columns id, pack, start and num_bytes."""

_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")
"""Headers of a zip file: before each file, in the list of files, and at the end."""

_VERSION, _UNIX, _FIRST_DAY, _MODE = 20, 3 << 8, 33, 0o100644 << 16
"""Fixed values in these headers, so that equal files give equal bytes: the first day is 1 January 1980."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file in a pack."""

    pack: Path
    """The zip file."""
    name: str
    """Its name in the pack."""
    start: int
    """Where its bytes begin in the pack."""
    num_bytes: int
    """Its size."""

    def __str__(self) -> str:
        """Give the path of the pack, and the name in it after a slash."""
        return f"{self.pack}/{self.name}"

    def read(self) -> bytes:
        """Read the file, in any thread.

        Raises:
            DataError: the pack is no file, or does not have the file there; the message is the reason alone.
            OSError: the pack cannot be read.
        """
        name = self.name.encode()
        data = read_part(self.pack, self.start - len(name), len(name) + self.num_bytes)
        if len(data) != len(name) + self.num_bytes or not data.startswith(name):
            raise DataError(f"{self.pack.name} is damaged, or {INDEX} beside it is of other packs")
        return data[len(name) :]


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file that waits to be packed, after the files before it."""

    id: str
    """SHA-256 of its bytes, hex."""
    name: str
    """Its name in the pack."""
    num_bytes: int
    """Its size."""
    crc: int
    """CRC-32 of its bytes, which zip files have."""
    content: bytes | Path
    """Its bytes, or the temporary file that has them."""

    @classmethod
    def of(cls, id_: str, name: str, data: bytes, folder: Path) -> "WaitingFile":
        """Let a file wait, a large one on disk: threads may be far ahead of the packs."""
        content: bytes | Path = data
        if len(data) > WAITING_BYTES:
            handle, path = tempfile.mkstemp(suffix=".waiting", dir=folder)
            with open(handle, "wb") as file:
                file.write(data)
            content = Path(path)
        return cls(id_, name, len(data), zlib.crc32(data), content)


class PackWriter:
    """Writes packs to a folder and, at the end of the context, their index."""

    def __init__(self, folder: Path) -> None:
        """Begin with no pack; the folder exists."""
        self.folder = folder
        self._places: dict[str, tuple[str, int, int]] = {}
        self._pack: _Pack | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the end of the last pack and the index; after an error, only close the pack."""
        self._end_pack()
        if kind is None:
            self._write_index()

    def add(self, file: WaitingFile) -> None:
        """Add a file to the last pack; one that is there already is not added again."""
        if file.id not in self._places:
            pack = self._pack = self._pack or _Pack((self.folder / f"{file.id[:16]}.zip").open("wb"))
            self._places[file.id] = Path(pack.file.name).name, *pack.add(file)
            if _ends_pack(file) or pack.is_full:
                self._end_pack()
        if isinstance(file.content, Path):
            file.content.unlink()

    def remove(self, ids: Iterable[str]) -> None:
        """Remove files again; where packs end does not change."""
        self._end_pack()
        removed = defaultdict[str, set[str]](set)
        for id_ in ids:
            removed[self._places.pop(id_)[0]].add(id_)
        for name, some in removed.items():
            self._write_without(self.folder / name, some)

    def _write_index(self) -> None:
        ids = sorted(self._places)

        def rows(start: int, stop: int) -> pd.DataFrame:
            some = [(id_, *self._places[id_]) for id_ in ids[start:stop]]
            return pd.DataFrame(some, columns=["id", "pack", "start", "num_bytes"])

        write_table(rows, len(ids), self.folder / INDEX)

    def _end_pack(self) -> None:
        if self._pack is not None:
            self._pack.end()
            self._pack = None

    def _write_without(self, path: Path, removed: set[str]) -> None:
        """Write a pack again without some of its files."""
        with zipfile.ZipFile(path) as old, atomic_path(path) as temporary:
            pack = _Pack(temporary.open("wb"))
            for info in old.infolist():
                id_ = info.filename.partition(".")[0]
                if id_ not in removed:
                    file = WaitingFile(id_, info.filename, info.file_size, info.CRC, old.read(info))
                    self._places[id_] = path.name, *pack.add(file)
            pack.end()
        if not pack.num_files:
            path.unlink()


class _Pack:
    """A zip file that is being written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.num_files, self._list = file, 0, bytearray()
        self._end = 0

    @property
    def is_full(self) -> bool:
        return self.num_files >= MAX_FILES or self._end >= MAX_BYTES

    def add(self, file: WaitingFile) -> tuple[int, int]:
        """Write a file; give where its bytes begin, and their number."""
        name = file.name.encode()
        same = 0, 0, 0, _FIRST_DAY, file.crc, file.num_bytes, file.num_bytes, len(name), 0
        self.file.write(_LOCAL.pack(b"PK\3\4", _VERSION, *same) + name)
        if isinstance(file.content, bytes):
            self.file.write(file.content)
        else:
            with file.content.open("rb") as content:
                copyfileobj(content, self.file, 2**20)
        self._list += _CENTRAL.pack(b"PK\1\2", _UNIX | _VERSION, _VERSION, *same, 0, 0, 0, _MODE, self._end) + name
        start = self._end + _LOCAL.size + len(name)
        self._end, self.num_files = start + file.num_bytes, self.num_files + 1
        return start, file.num_bytes

    def end(self) -> None:
        """Write the list of files and close the file."""
        with self.file as file:
            counts = self.num_files, self.num_files, len(self._list), self._end
            file.write(self._list + _END.pack(b"PK\5\6", 0, 0, *counts, 0))


def _ends_pack(file: WaitingFile) -> bool:
    """Whether the hash of a file, taken as a number from 0 to 1, is below the share of a pack that the file is."""
    return int(file.id[:16], 16) / 2**64 < max(1 / FILES_PER_PACK, file.num_bytes / BYTES_PER_PACK)


class PackIndex:
    """Where the files in the packs of a folder are."""

    def __init__(self, folder: Path) -> None:
        """Read the index of a folder.

        Raises:
            DataError: it cannot be read.
        """
        table = _read_index(folder / INDEX)
        self._folder, self._keys = folder, as_keys(pack_ids(texts(table["id"])))
        self._packs, self._names = pd.factorize(table["pack"])
        self._starts, self._sizes = table["start"].to_numpy(), table["num_bytes"].to_numpy()

    def find(self, id_: str, name: str) -> PackedFile:
        """Find a file by its id; `name` is its name in the pack.

        Raises:
            DataError: it is in no pack.
        """
        key = bytes.fromhex(id_)
        row = int(np.searchsorted(self._keys, np.bytes_(key)))
        if row == len(self._keys) or self._keys[row : row + 1].tobytes() != key:
            raise DataError(f"{self._folder / INDEX} does not have {name}")
        pack = self._folder / str(self._names[self._packs[row]])
        return PackedFile(pack, name, int(self._starts[row]), int(self._sizes[row]))


def has_packs(folder: Path) -> bool:
    """Tell whether a folder has packs."""
    return os.path.exists(folder / INDEX)


def _read_index(path: Path) -> pd.DataFrame:
    if path.is_dir():
        return read_shards(path)
    try:
        return pd.read_csv(path, dtype={"id": "str", "pack": "str", "start": "int64", "num_bytes": "int64"})
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error)})") from None
