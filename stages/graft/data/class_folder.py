"""A class folder on disk or in S3: one sub-folder per class, files nested in them as deep as they like."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import Member, Source, class_folder, readable_name
from stages.graft.data.limits import check_size
from stages.graft.storage.s3 import is_remote, list_objects, read_object


@dataclass(frozen=True, slots=True)
class _File:
    """Reads a file; of millions, it shares the text of its path with the candidate."""

    path: str

    def __call__(self) -> bytes:
        return read_file(Path(self.path))


@dataclass(frozen=True, slots=True)
class _Object:
    """Reads an object in S3 whose size was listed."""

    address: str
    size: int

    def __call__(self) -> bytes:
        check_size(self.size)
        return read_object(self.address)


def read_class_folder(folder: Path, name: str) -> Source:
    """List the files of a class folder; links to files and folders are followed.

    Args:
        folder: the class folder.
        name: of the source, for messages.
    Raises:
        DataError: a folder below it cannot be listed.
    """
    members, folders, num_special = [], [], 0
    for entry in walk(folder):
        path = readable_name(Path(entry.path).relative_to(folder).as_posix())
        if entry.is_dir():
            folders.append(path)
        elif entry.is_file() or entry.is_symlink():  # a broken link is a bad image
            members.append(Member(file=path, read=_File(entry.path), address=entry.path))
        else:
            num_special += 1
    return class_folder(name, members, folders, num_special)


def read_remote_folder(address: str) -> Source:
    """List the files of a class folder in S3; nothing is read yet.

    Args:
        address: s3://<bucket>/<prefix>, without a slash at its end.
    Raises:
        UnreachableError: there is nothing, or it may not be listed.
    """
    members, folders = [], []
    for item in list_objects(address):
        path = readable_name(item.address[len(address) + 1 :])
        if path.endswith("/"):
            folders.append(path.rstrip("/"))
        elif path:
            members.append(Member(file=path, read=_Object(item.address, item.size), address=item.address))
    return class_folder(address, members, [folder for folder in folders if folder])


def read_address(address: str) -> bytes:
    """Read a file that may be an image, on disk or in S3.

    Raises:
        DataError: a file cannot be read, or is too large; the message is the reason alone, without the path.
        UnreachableError: an object cannot be read.
    """
    return read_object(address) if is_remote(address) else read_file(Path(address))


def read_file(path: Path) -> bytes:
    """Read a file that may be an image.

    Raises:
        DataError: it cannot be read, or is too large; the message is the reason alone, without the path.
    """
    try:
        check_size(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None


def walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Give all files and folders below a folder, by name; links are followed, but never round and round.

    Raises:
        DataError: a folder cannot be listed.
    """
    return _walk(folder, (os.path.realpath(folder),))


def _walk(folder: Path | str, above: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """The same; `above` are the real paths of the folders we are in."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from None
    for entry in entries:
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
        if entry.is_dir() and real in above:
            continue  # a link to a folder we are in would lead round and round
        yield entry
        if entry.is_dir():
            yield from _walk(entry.path, (*above, real))
