"""The location of an image's bytes: a copy in data/images, or the image in place, which its owner may change.

A copy is in a pack; older versions wrote a file for each. An image in place is an address (a path or s3://…) with the
id that its bytes must hash to.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError, GraftError
from stages.graft.storage.packs import PackedFile
from stages.graft.storage.regular_files import read_regular
from stages.graft.storage.s3 import UnreachableError, is_remote, read_object

NUM_READERS = 16
"""Number of objects requested at the same time: a service has a high latency, but answers many requests at once."""

BRING_BACK = "`dvc checkout` or `dvc repro ingest` brings it back"
"""Advice about a copy that is missing or damaged."""


class ChangedError(GraftError):
    """An image in place is no longer the one that was ingested."""


def absolute_address(address: str) -> str:
    """Give an address that is valid in other working folders."""
    return address if is_remote(address) else os.path.abspath(address)


@dataclass(frozen=True, slots=True)
class ImageInPlace:
    """An image that was not copied."""

    address: str
    """A path or s3://…."""
    id: str
    """SHA-256 of its bytes when it was ingested, hex."""

    def __str__(self) -> str:
        """Give the address."""
        return self.address


ImageLocation = Path | PackedFile | ImageInPlace


def absolute_location(location: ImageLocation) -> ImageLocation:
    """Give a location that is valid in other working folders, such as those of a cluster's workers."""
    return read_location(location_record(location))


def read_image_bytes(location: ImageLocation) -> bytes:
    """Read an image's bytes; those of an image in place are checked against its id.

    Raises:
        ChangedError: an image in place has changed since it was ingested.
        UnreachableError: an image in place is not there, or cannot be read.
        DataError: a copy is missing or damaged, or is no file.
    """
    if not isinstance(location, ImageInPlace):
        try:
            return location.read() if isinstance(location, PackedFile) else read_regular(location)
        except (FileNotFoundError, DataError) as error:
            raise DataError(f"{location}: {error}; {BRING_BACK}") from None
    data = _read(location.address)
    if hashlib.sha256(data).hexdigest() != location.id:
        raise ChangedError(f"{location.address} has changed since it was ingested; run `dvc repro --force ingest`")
    return data


def location_record(location: ImageLocation) -> list[Any]:
    """Give a location as JSON values, valid in other working folders."""
    if isinstance(location, ImageInPlace):
        return [absolute_address(location.address), location.id]
    if isinstance(location, PackedFile):
        return [os.path.abspath(location.pack), location.name, location.start, location.num_bytes]
    return [os.path.abspath(location)]


def read_location(record: Sequence[Any]) -> ImageLocation:
    """Make a location of the JSON values that `location_record` gives."""
    first, *others = record
    if len(others) == 1:
        return ImageInPlace(first, *others)
    return PackedFile(Path(first), *others) if others else Path(first)


def num_readers(locations: Sequence[ImageLocation]) -> int | None:
    """Give the number of threads that read from a service, if the first image is in one; else None."""
    first = locations[0] if locations else None
    return NUM_READERS if isinstance(first, ImageInPlace) and is_remote(first.address) else None


def _read(address: str) -> bytes:
    if is_remote(address):
        return read_object(address)
    try:
        return read_regular(address)
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        advice = "bring it back, or run `dvc repro --force ingest`"
        raise UnreachableError(f"{address} cannot be read ({reason}); {advice}") from None
