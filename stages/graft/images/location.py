"""Where an image's bytes are: in a file of ours, or in place, where its owner keeps it and may change it.

A place is a path or, for an image in place, an address (a path or s3://…) with the id that its bytes must hash to.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.graft.core.errors import DataError, GraftError
from stages.graft.core.threads import in_threads
from stages.graft.storage.s3 import UnreachableError, is_remote, read_object

NUM_READERS = 16
"""Objects asked for at once: a service answers late, but many at a time."""


BRING_BACK = "`dvc checkout` or `dvc repro ingest` brings it back"
"""What to do about a file of ours that is missing or damaged."""


class ChangedError(GraftError):
    """An image in place is no longer the one that was ingested; the message is whole."""


def absolute_address(address: str) -> str:
    """Give an address for processes that work in other folders."""
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


ImageLocation = Path | ImageInPlace


def read_image_bytes(place: ImageLocation) -> bytes:
    """Read an image's bytes; those of an image in place are checked against its id.

    Raises:
        ChangedError: an image in place has changed since it was ingested.
        UnreachableError: an image in place is not there, or cannot be read.
        DataError: a file of ours is missing.
    """
    if isinstance(place, Path):
        return _read_ours(place)
    data = _read(place.address)
    if hashlib.sha256(data).hexdigest() != place.id:
        raise ChangedError(f"{place.address} has changed since it was ingested; run `dvc repro --force ingest`")
    return data


def read_images_bytes(places: Sequence[ImageLocation]) -> Iterator[bytes]:
    """Read images in order, as `read_place` does; from a service many at once."""
    num_threads = num_readers(places)
    return in_threads(read_image_bytes, places, num_threads) if num_threads else map(read_image_bytes, places)


def num_readers(places: Sequence[ImageLocation]) -> int | None:
    """Say how many threads wait for a service that has the first of these images; None where none does."""
    first = places[0] if places else None
    return NUM_READERS if isinstance(first, ImageInPlace) and is_remote(first.address) else None


def _read_ours(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: {error}; {BRING_BACK}") from None


def _read(address: str) -> bytes:
    if is_remote(address):
        return read_object(address)
    try:
        return Path(address).read_bytes()
    except OSError as error:
        advice = "bring it back, or run `dvc repro --force ingest`"
        raise UnreachableError(f"{address} cannot be read ({error.strerror}); {advice}") from None
