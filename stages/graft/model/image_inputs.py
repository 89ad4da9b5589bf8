"""Image files as a user names them: one by one, in folders, in S3, on standard input; listed as they are needed."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import OTHER_SUFFIXES, READ_SUFFIXES, is_hidden
from stages.graft.data.class_folder import walk
from stages.graft.model.predictor import ImageFile
from stages.graft.storage.s3 import is_remote, list_objects

STDIN = "-"

BYTES_AT_ONCE = 2**16
"""Of standard input, at most; less when less has come."""


@dataclass(frozen=True, kw_only=True)
class FolderCount:
    """What lies in a folder, at any depth."""

    num_images: int
    """Files that are images by their names, of any format."""
    num_others: int
    """Files that are not, sockets, pipes and devices among them."""
    num_hidden: int
    """Files whose name, or a folder's above them, begins with a dot."""


def count_images(places: Sequence[str]) -> tuple[int | None, dict[str, FolderCount]]:
    """Count what is named, before anything is read.

    Args:
        places: files, folders, s3://… of either, or - for names on standard input.
    Returns:
        How many images there are, None when only standard input knows; and what each folder holds.
    Raises:
        DataError: a file or folder does not exist, a folder cannot be listed, or there is no image.
        UnreachableError: a folder in S3 holds nothing, or may not be listed.
    """
    missing = [place for place in places if not (place == STDIN or is_remote(place) or os.path.lexists(place))]
    if missing:
        raise DataError(f"{printable_name(missing[0])} does not exist")
    folders = {place: _count(place) for place in places if place != STDIN and _is_folder(place)}
    if STDIN in places:
        return None, folders
    num_images = sum(folders[place].num_images if place in folders else 1 for place in places)
    if not num_images:
        raise DataError(f"no image in {', '.join(map(printable_name, places))}")
    return num_images, folders


def named_images(places: Sequence[str], stdin: BinaryIO) -> Iterator[ImageFile]:
    """List images in the order they are named, those of a folder by name.

    Args:
        places: as in `count_images`.
        stdin: holds names, a line each or, as `find -print0` writes them, ended by a zero byte.
    """
    for place in places:
        if place == STDIN:
            names = _names(stdin)
        elif _is_folder(place):
            names = (name for name, kind in _listed(place) if kind == "num_images")
        else:
            names = iter((place,))
        for name in names:
            yield ImageFile.at_address(name, printable_name(name))


def printable_name(name: str) -> str:
    """Give a file's name as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _count(folder: str) -> FolderCount:
    counts = dict.fromkeys(("num_images", "num_others", "num_hidden"), 0)
    for _, kind in _listed(folder):
        counts[kind] += 1
    return FolderCount(**counts)


def _is_folder(place: str) -> bool:
    """Whether a place holds images; in S3, where there are no folders, whether it has no image's name."""
    return not _is_image_name(place) if is_remote(place) else Path(place).is_dir()


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    """The files below a folder, by name, each with the number under which it counts."""
    if is_remote(folder):
        start = len(folder.rstrip("/")) + 1
        for one in list_objects(folder):
            if not one.address.endswith("/"):
                yield one.address, _kind(one.address[start:], is_file=True)
        return
    for entry in walk(folder):
        if not entry.is_dir():
            # A broken link is an image that cannot be read.
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
    while block := stream.read1(BYTES_AT_ONCE):  # type: ignore[attr-defined]
        end = end or (b"\0" if b"\0" in block else b"\n" if b"\n" in block else b"")
        *whole, rest = (rest + block).split(end) if end else [rest + block]
        yield from _cleaned(whole)
    yield from _cleaned([rest])


def _cleaned(names: Sequence[bytes]) -> Iterator[str]:
    for name in names:
        if name.strip(b"\r"):
            yield os.fsdecode(name.rstrip(b"\r"))
