"""Where the rows of one fingerprint lie: a folder, or a prefix in S3. A file appears there whole, and never changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from stages.graft.storage.files import atomic_path, json_text, write_json
from stages.graft.storage.locks import mark_used, shared_lock
from stages.graft.storage.s3 import is_remote, move_object, objects_below, read_object, write_object

RECORD = "fingerprint.json"
"""What the rows were computed with, readable; its time is when they were last opened."""

SUFFIX, DAMAGED = ".safetensors", ".damaged"
"""Of a fragment, and of one that was set aside."""


Buffer = bytes | memoryview


class FeatureBackend(Protocol):
    """The files of one fingerprint."""

    @property
    def num_readers(self) -> int:
        """How many files are best asked for at once."""

    def begin(self, record: Mapping[str, Any], holder: object) -> None:
        """Write the record, or note that the rows are used."""

    def names(self) -> list[str]:
        """List the fragments' files, sorted."""

    def at(self, name: str) -> str:
        """Say where a file is."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file, or its bytes from one up to, not with, another.

        Raises:
            FileNotFoundError: it has disappeared.
            UnreachableError: the same in S3, or S3 does not answer.
        """

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write a file, in pieces, one after the other: afterwards it is there, and before it was not."""

    def set_aside(self, name: str) -> None:
        """Rename a fragment that cannot be read."""

    def known_everywhere(self) -> "FeatureBackend":
        """Give the same for processes that work in other folders."""


def open_backend(root: Path | str, fingerprint: str) -> FeatureBackend:
    """Give the shelf of a fingerprint.

    Args:
        root: a folder, or s3://….
        fingerprint: its name there.
    """
    remote = isinstance(root, str) and is_remote(root)
    return S3Backend(f"{str(root).rstrip('/')}/{fingerprint}") if remote else FolderBackend(Path(root) / fingerprint)


@dataclass(frozen=True)
class FolderBackend:
    """A shelf on disk, which machines may share; the lock beside it is held, so that nobody removes what is used."""

    path: Path
    num_readers: ClassVar[int] = 1

    def begin(self, record: Mapping[str, Any], holder: object) -> None:
        """As `Shelf.begin`; the lock is held for as long as an object lives."""
        shared_lock(self.path, holder)
        if (self.path / RECORD).exists():
            mark_used(self.path / RECORD)
        else:
            write_json(record, self.path / RECORD)

    def names(self) -> list[str]:
        """As `Shelf.names`."""
        return sorted(path.name for path in self.path.glob(f"*{SUFFIX}"))

    def at(self, name: str) -> str:
        """As `Shelf.at`."""
        return str(self.path / name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """As `Shelf.read`."""
        with (self.path / name).open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """As `Shelf.write`."""
        with atomic_path(self.path / name) as temporary, temporary.open("wb") as file:
            file.writelines(pieces)

    def set_aside(self, name: str) -> None:
        """As `Shelf.set_aside`."""
        (self.path / name).replace((self.path / name).with_suffix(DAMAGED))

    def known_everywhere(self) -> "FolderBackend":
        """As `Shelf.known_everywhere`."""
        return FolderBackend(self.path.absolute())


@dataclass(frozen=True)
class S3Backend:
    """A shelf in S3, where an object appears whole without help, and where there are no locks."""

    address: str
    num_readers: ClassVar[int] = 16

    def begin(self, record: Mapping[str, Any], holder: object) -> None:
        """As `Shelf.begin`; nothing keeps others from removing what is used."""
        write_object(self.at(RECORD), json_text(record).encode())

    def names(self) -> list[str]:
        """As `Shelf.names`."""
        start = len(self.address) + 1
        names = (one.address[start:] for one in objects_below(self.address))
        return sorted(name for name in names if name.endswith(SUFFIX))

    def at(self, name: str) -> str:
        """As `Shelf.at`."""
        return f"{self.address}/{name}"

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """As `Shelf.read`."""
        return read_object(self.at(name), start, stop)

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """As `Shelf.write`."""
        write_object(self.at(name), b"".join(pieces))

    def set_aside(self, name: str) -> None:
        """As `Shelf.set_aside`."""
        move_object(self.at(name), self.at(name.removesuffix(SUFFIX) + DAMAGED))

    def known_everywhere(self) -> "S3Backend":
        """As `Shelf.known_everywhere`."""
        return self
