"""A folder on disk or in S3: its files, nested as deep as they like, and its sub-folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stages.graft.core.errors import DataError
from stages.graft.core.memory import FILES, take
from stages.graft.data.candidates import Contents, FoundFile, readable_name, with_slashes
from stages.graft.data.litter import is_hidden
from stages.graft.storage.regular_files import MAX_FILE_BYTES, check_size, read_regular
from stages.graft.storage.s3 import is_remote, list_objects, read_object


@dataclass(frozen=True, slots=True)
class _Read:
    """Reads a file, or an object in S3 whose size was listed; of millions, it shares the address with the candidate."""

    address: str
    size: int = 0

    def __call__(self) -> bytes:
        if self.size:
            check_size(self.size)
            take(FILES, self.size)
        return read_address(self.address)


def list_folder(folder: Path) -> Contents:
    """List the files of a folder, as `walk` does; nothing is read yet."""
    files, folders, num_special = list[FoundFile](), [], 0
    for entry in walk(folder):
        path = with_slashes(readable_name(Path(entry.path).relative_to(folder).as_posix()))
        if entry.is_folder:
            folders.append(path)
        elif entry.is_file:
            is_watched = not entry.is_behind_link
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
    if not is_remote(address):
        return read_file(Path(address))
    data = read_object(address, 0, MAX_FILE_BYTES + 1)
    check_size(len(data))
    take(FILES, len(data))
    return data


def read_file(path: Path) -> bytes:
    """Read a file that may be an image.

    Raises:
        DataError: it cannot be read, or is too large; the message is the reason alone, without the path.
    """
    try:
        return read_regular(path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None


MAX_DEPTH, MAX_LINKED = 100, 10_000
"""Folders inside each other, and folders behind links: links can name each other in millions of ways."""


class Entry(NamedTuple):
    """What lies in a folder, at any depth."""

    path: str
    """From here."""
    is_folder: bool
    """Whether it is a folder, or a link to one."""
    is_file: bool
    """Whether it is a file, or a link to anything but a folder: what a link cannot give is refused when it is read."""
    is_behind_link: bool
    """Whether it lies in a linked folder."""


def walk(folder: Path | str) -> Iterator[Entry]:
    """Give all files and folders below a folder, by name; links are followed, but never round and round.

    Raises:
        DataError: a folder cannot be listed; a hidden one, which systems may lock, is taken for empty. Folders are
            nested too deep, or there are too many behind links.
    """
    num_linked = 0
    for entry in _walk(folder, (os.path.realpath(folder),), hidden=False, behind_link=False):
        num_linked += entry.is_folder and entry.is_behind_link
        if num_linked > MAX_LINKED:
            raise DataError(f"{folder} has over {MAX_LINKED} folders behind links; put the images themselves there")
        yield entry


def _walk(folder: Path | str, above: tuple[str, ...], hidden: bool, behind_link: bool) -> Iterator[Entry]:
    """Walk through a folder; `above` has the real paths of the folders we are in, this one the last."""
    if len(above) > MAX_DEPTH:
        raise DataError(f"{above[0]} has over {MAX_DEPTH} folders inside each other; move the images up")
    for entry in _listed(folder, hidden):
        is_link, is_folder = entry.is_symlink(), _is_folder(entry)
        real = os.path.realpath(entry.path) if is_link else os.path.join(above[-1], entry.name)
        if is_folder and real in above:
            continue  # a link to a folder we are in would lead round and round
        yield Entry(entry.path, is_folder, not is_folder and (is_link or entry.is_file()), behind_link)
        if is_folder:
            inner = (*above, real), hidden or is_hidden(entry.name), behind_link or is_link
            yield from _walk(entry.path, *inner)


def _listed(folder: Path | str, hidden: bool) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if hidden:
            return []
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
