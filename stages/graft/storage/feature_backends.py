"""Backends of the feature store: the files of one fingerprint, in a folder or in S3.

A file appears whole and never changes.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from stages.graft.storage.files import atomic_path, json_text, write_text
from stages.graft.storage.locks import mark_used, shared_lock
from stages.graft.storage.s3 import is_remote, move_object, objects_below, read_object, write_object

RECORD = "fingerprint.json"
"""What the rows were computed with, readable; the file's time is when they were last opened."""

SUFFIX, DAMAGED = ".safetensors", ".damaged"
"""Suffix of a fragment, and of a fragment that cannot be read."""


Buffer = bytes | memoryview


class FeatureBackend(Protocol):
    """The files of one fingerprint."""

    @property
    def num_readers(self) -> int:
        """Number of files to read at the same time."""

    def begin(self, record: Mapping[str, Any], holder: object) -> None:
        """Write the record of a new fingerprint, or mark an old one as used.

        Args:
            record: what the rows are computed with.
            holder: an object; while it lives, no other process removes the files of a folder. S3 has no locks.
        """

    def names(self) -> list[str]:
        """List the fragments' files, sorted."""

    def address(self, name: str) -> str:
        """Give the path or address of a file."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read the bytes of a file from `start` to before `stop`; by default all of them.

        Raises:
            FileNotFoundError: the file has disappeared from the folder.
            UnreachableError: the file has disappeared from S3, or S3 does not answer.
        """

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write the pieces, in their order, as one file, which appears whole."""

    def set_aside(self, name: str) -> None:
        """Rename a fragment that cannot be read."""


def open_backend(root: Path | str, fingerprint: str) -> FeatureBackend:
    """Give the backend of a fingerprint, for processes in any working folder.

    Args:
        root: the feature store: a folder, or s3://….
        fingerprint: name of the folder within it.
    """
    if isinstance(root, str) and is_remote(root):
        return S3Backend(f"{root.rstrip('/')}/{fingerprint}")
    return FolderBackend(Path(root).absolute() / fingerprint)


@dataclass(frozen=True)
class FolderBackend:
    """A folder on disk, which machines may share; its methods are those of `FeatureBackend`."""

    path: Path
    num_readers: ClassVar[int] = 1

    def begin(self, record: Mapping[str, Any], holder: object) -> None:
        shared_lock(self.path, holder)
        path, text = self.path / RECORD, json_text(record)
        if not path.exists() or path.read_bytes() != text.encode():
            write_text(text, path)
        mark_used(path)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.glob(f"*{SUFFIX}"))

    def address(self, name: str) -> str:
        return str(self.path / name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        with (self.path / name).open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        with atomic_path(self.path / name) as temporary, temporary.open("wb") as file:
            file.writelines(pieces)

    def set_aside(self, name: str) -> None:
        with suppress(FileNotFoundError):  # another process has done it
            (self.path / name).replace((self.path / name).with_suffix(DAMAGED))


@dataclass(frozen=True)
class S3Backend:
    """A prefix in S3, where objects appear whole and there are no locks; its methods are those of `FeatureBackend`."""

    root: str
    num_readers: ClassVar[int] = 16

    def begin(self, record: Mapping[str, Any], holder: object) -> None:
        write_object(self.address(RECORD), json_text(record).encode())

    def names(self) -> list[str]:
        names = (found.address.removeprefix(f"{self.root}/") for found in objects_below(self.root))
        return sorted(name for name in names if name.endswith(SUFFIX))

    def address(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        return read_object(self.address(name), start, stop)

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        write_object(self.address(name), b"".join(pieces))

    def set_aside(self, name: str) -> None:
        move_object(self.address(name), self.address(name.removesuffix(SUFFIX) + DAMAGED))
