"""A folder on disk or in S3: its files, nested as deep as they like, and its sub-folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import Contents, FoundFile, readable_name, with_slashes
from stages.graft.data.limits import check_size
from stages.graft.data.litter import is_hidden
from stages.graft.storage.s3 import is_remote, list_objects, read_object


@dataclass(frozen=True, slots=True)
class _Read:
    """Reads a file, or an object in S3 whose size was listed; of millions, it shares the address with the candidate."""

    address: str
    size: int = 0

    def __call__(self) -> bytes:
        check_size(self.size)
        return read_address(self.address)


def list_folder(folder: Path) -> Contents:
    """List the files of a folder, as `walk` does; nothing is read yet."""
    files, folders, num_special, linked = list[FoundFile](), [], 0, set[str]()
    for entry in walk(folder):
        path = with_slashes(readable_name(Path(entry.path).relative_to(folder).as_posix()))
        if entry.is_dir():
            folders.append(path)
            if entry.is_symlink() or os.path.dirname(entry.path) in linked:
                linked.add(entry.path)
        elif entry.is_file() or entry.is_symlink():  # a broken link is a bad image
            is_watched = os.path.dirname(entry.path) not in linked
            files.append(FoundFile(file=path, read=_Read(entry.path), address=entry.path, is_watched=is_watched))
        else:
            num_special += 1
    return Contents(files=files, folders=folders, num_special=num_special)


def list_remote_folder(address: str) -> Contents:
    """List the files of a folder in S3; nothing is read yet.

    Args:
        address: s3://<bucket>/<prefix>, without a slash at its end.
    Raises:
        UnreachableError: there is nothing, or it may not be listed.
    """
    files, folders = list[FoundFile](), []
    for item in list_objects(address):
        path = with_slashes(readable_name(item.address[len(address) + 1 :]))
        if path.endswith("/"):
            folders.append(path.rstrip("/"))
        elif path:
            files.append(FoundFile(file=path, read=_Read(item.address, item.size), address=item.address))
    return Contents(files=files, folders=folders)


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
        DataError: a folder cannot be listed; a hidden one, which systems may lock, is taken for empty.
    """
    return _walk(folder, (os.path.realpath(folder),), hidden=False)


def _walk(folder: Path | str, above: tuple[str, ...], hidden: bool) -> Iterator[os.DirEntry[str]]:
    """Walk through a folder; `above` has the real paths of the folders we are in, this one the last."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if hidden:
            return
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from None
    for entry in entries:
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
        if entry.is_dir() and real in above:
            continue  # a link to a folder we are in would lead round and round
        yield entry
        if entry.is_dir():
            yield from _walk(entry.path, (*above, real), hidden or is_hidden(entry.name))
