"""Image files named by a user: single files, folders, S3, or names on standard input; listed as they are needed."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import has_image_suffix
from stages.graft.data.class_folder import read_address, walk
from stages.graft.data.litter import count_hidden, is_hidden
from stages.graft.images.decode import is_image
from stages.graft.model.predictor import ImageFile
from stages.graft.storage.regular_files import read_beginning
from stages.graft.storage.s3 import is_remote, list_objects, read_object

STDIN = "-"

_BLOCK_BYTES = 2**16
"""Bytes read at once from standard input, at most."""

_HEAD_BYTES = 2**16
"""Bytes of a file without the suffix of an image that are looked at first."""

_LONG_HEADS = (b"\xff\xd8", b"II", b"MM")
"""First bytes of JPEG and TIFF, whose description of the image may come later."""


@dataclass(frozen=True, kw_only=True)
class FolderCount:
    """Number of files in a folder, at any depth."""

    num_images: int
    """Files that `ingest` would take for images: by their suffix, or by their content."""
    num_others: int
    """Other files, including sockets, pipes and devices."""
    num_hidden: int
    """Files passed over, as `litter.count_hidden` counts them."""


def count_images(locations: Sequence[str]) -> tuple[int | None, dict[str, FolderCount]]:
    """Count the images that a user names, before any is read.

    Args:
        locations: files, folders, s3://… of either, or - for names on standard input.
    Returns:
        The number of images, None with standard input; and the counts of each folder.
    Raises:
        DataError: a file or folder does not exist, a folder cannot be listed, or there is no image.
        UnreachableError: a folder in S3 holds nothing, or may not be listed.
    """
    for location in locations:
        if not (location == STDIN or is_remote(location) or os.path.lexists(location)):
            raise DataError(f"{printable_name(location)} does not exist")
    folders = {location: _count(location) for location in locations if location != STDIN and _is_folder(location)}
    if STDIN in locations:
        return None, folders
    num_images = sum(folders[location].num_images if location in folders else 1 for location in locations)
    if not num_images:
        raise DataError(f"no image in {', '.join(map(printable_name, locations))}")
    return num_images, folders


def named_images(locations: Sequence[str], stdin: BinaryIO) -> Iterator[ImageFile]:
    """List images in the order in which they are named, those of a folder by name.

    Args:
        locations: as in `count_images`.
        stdin: holds names, one on a line or, as `find -print0` writes them, ended by a zero byte.
    """
    for location in locations:
        if location == STDIN:
            names = _names(stdin)
        elif _is_folder(location):
            names = _images(location)
        else:
            names = iter((location,))
        for name in names:
            yield ImageFile.at_address(name, printable_name(name))


def printable_name(name: str) -> str:
    """Give a file's name as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_image_file(address: str) -> bool:
    """Say whether a file in a folder is an image for `ingest` too: by its suffix, or else by its content."""
    if has_image_suffix(address):
        return True
    try:
        head = _read_head(address)
        return is_image(head) or (head.startswith(_LONG_HEADS) and is_image(read_address(address)))
    except (DataError, OSError):
        return False


def _read_head(address: str) -> bytes:
    if is_remote(address):
        return read_object(address, 0, _HEAD_BYTES)
    return read_beginning(address, _HEAD_BYTES)


def _is_folder(location: str) -> bool:
    """Tell whether a location is a folder; in S3, which has no folders, whether its name is not an image's."""
    return not has_image_suffix(location) if is_remote(location) else Path(location).is_dir()


def _count(folder: str) -> FolderCount:
    hidden: dict[bool, list[str]] = {True: [], False: []}
    counts = Counter[bool]()
    for entry in _entries(folder):
        if is_hidden(entry.path):
            hidden[entry.is_folder].append(entry.path)
        elif not entry.is_folder:
            counts[entry.is_file and is_image_file(entry.address)] += 1
    num_hidden = count_hidden(hidden[False], hidden[True])
    return FolderCount(num_images=counts[True], num_others=counts[False], num_hidden=num_hidden)


def _images(folder: str) -> Iterator[str]:
    """Give the addresses of the images in a folder, by name."""
    for entry in _entries(folder):
        if entry.is_file and not is_hidden(entry.path) and is_image_file(entry.address):
            yield entry.address


class _Entry(NamedTuple):
    """What lies in a folder, at any depth."""

    path: str
    """Inside the folder."""
    address: str
    """From here."""
    is_folder: bool
    """Whether it is a folder."""
    is_file: bool
    """Whether it is a file; a broken link is one, which cannot be read."""


def _entries(folder: str) -> Iterator[_Entry]:
    if is_remote(folder):
        start = len(folder.rstrip("/")) + 1
        for item in list_objects(folder):
            is_folder = item.address.endswith("/")
            yield _Entry(item.address[start:].rstrip("/"), item.address, is_folder, not is_folder)
        return
    for found in walk(folder):
        path = Path(found.path).relative_to(folder).as_posix()
        yield _Entry(path, found.path, found.is_folder, found.is_file)


def _names(stream: BinaryIO) -> Iterator[str]:
    rest, end = b"", b""
    while block := stream.read1(_BLOCK_BYTES):  # type: ignore[attr-defined]
        end = end or (b"\0" if b"\0" in block else b"\n" if b"\n" in block else b"")
        *complete, rest = (rest + block).split(end) if end else [rest + block]
        yield from _decoded(complete)
    yield from _decoded([rest])


def _decoded(names: Sequence[bytes]) -> Iterator[str]:
    for name in names:
        if name.strip(b"\r"):
            yield os.fsdecode(name.rstrip(b"\r"))
