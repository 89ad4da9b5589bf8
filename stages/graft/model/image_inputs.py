"""Image files named by a user: single files, folders, S3, or names on standard input; listed as they are needed."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import OTHER_SUFFIXES, READ_SUFFIXES, is_hidden
from stages.graft.data.class_folder import walk
from stages.graft.model.predictor import ImageFile
from stages.graft.storage.s3 import is_remote, list_objects

STDIN = "-"

_BLOCK_BYTES = 2**16
"""Bytes read at once from standard input, at most."""


@dataclass(frozen=True, kw_only=True)
class FolderCount:
    """Number of files in a folder, at any depth."""

    num_images: int
    """Files with the name of an image, of any format."""
    num_others: int
    """Other files, including sockets, pipes and devices."""
    num_hidden: int
    """Files with a dot at the start of their name, or of a folder's above them."""


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
            names = (name for name, kind in _listed(location) if kind == "num_images")
        else:
            names = iter((location,))
        for name in names:
            yield ImageFile.at_address(name, printable_name(name))


def printable_name(name: str) -> str:
    """Give a file's name as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _count(folder: str) -> FolderCount:
    counts = Counter(kind for _, kind in _listed(folder))
    return FolderCount(**{field.name: counts[field.name] for field in fields(FolderCount)})


def _is_folder(location: str) -> bool:
    """Tell whether a location is a folder; in S3, which has no folders, whether its name is not an image's."""
    return not _is_image_name(location) if is_remote(location) else Path(location).is_dir()


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    """List the files below a folder, by name, each with the field of `FolderCount` that counts it."""
    if is_remote(folder):
        start = len(folder.rstrip("/")) + 1
        for item in list_objects(folder):
            if not item.address.endswith("/"):
                yield item.address, _kind(item.address[start:], is_file=True)
        return
    for entry in walk(folder):
        if not entry.is_dir():
            # A broken link counts as an image, which cannot be read.
            is_file = entry.is_file() or entry.is_symlink()
            yield entry.path, _kind(Path(entry.path).relative_to(folder).as_posix(), is_file)


def _kind(name: str, is_file: bool) -> str:
    if is_hidden(name):
        return "num_hidden"
    return "num_images" if is_file and _is_image_name(name) else "num_others"


def _is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in READ_SUFFIXES | OTHER_SUFFIXES


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
