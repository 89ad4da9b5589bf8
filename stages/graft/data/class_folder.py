"""A class folder on disk or in S3: one sub-folder per class, files nested in them as deep as they like."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import Source, candidate_in_folder, class_folder, readable_name
from stages.graft.data.limits import check_size
from stages.graft.storage.s3 import is_remote, list_objects, read_object


@dataclass(frozen=True, slots=True)
class _Read:
    """Reads a file, or an object in S3 whose size was listed; of millions, it shares the address with the candidate."""

    address: str
    size: int = 0

    def __call__(self) -> bytes:
        check_size(self.size)
        return read_address(self.address)


def read_class_folder(folder: Path, name: str) -> Source:
    """List the files of a class folder, as `walk` does; `name` is that of the source, for messages."""
    files, folders, num_special = [], [], 0
    for entry in walk(folder):
        path = readable_name(Path(entry.path).relative_to(folder).as_posix())
        if entry.is_dir():
            folders.append(path)
        elif entry.is_file() or entry.is_symlink():  # a broken link is a bad image
            files.append(candidate_in_folder(path, _Read(entry.path), entry.path))
        else:
            num_special += 1
    return class_folder(name, files, folders, num_special)


def read_remote_folder(address: str) -> Source:
    """List the files of a class folder in S3; nothing is read yet.

    Args:
        address: s3://<bucket>/<prefix>, without a slash at its end.
    Raises:
        UnreachableError: there is nothing, or it may not be listed.
    """
    files, folders = [], []
    for item in list_objects(address):
        path = readable_name(item.address[len(address) + 1 :])
        if path.endswith("/"):
            folders.append(path.rstrip("/"))
        elif path:
            files.append(candidate_in_folder(path, _Read(item.address, item.size), item.address))
    return class_folder(address, files, folders)


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


def walk(folder: Path | str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    """Give all files and folders below a folder, by name; links are followed, but never round and round.

    Args:
        folder: the folder.
        above: real paths of the folders we are in, this one the last; by default this one alone.
    Raises:
        DataError: a folder cannot be listed.
    """
    above = above or (os.path.realpath(folder),)
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
            yield from walk(entry.path, (*above, real))
