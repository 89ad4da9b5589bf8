"""Ids of images, the SHA-256 of their bytes: text of 64 hex digits, or packed in 32 bytes where there are millions."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint8]
"""Shape (n, 32), uint8."""

Keys = npt.NDArray[np.bytes_]
"""The same to sort and to search by: shape (n,), 32 bytes each, ordered as the text is."""

_AT_ONCE = 100_000
"""Ids that are text at one time while many are packed or gone through."""


class Ids(Sequence[str]):
    """Ids kept packed; text when asked for one. A slice is packed again and takes no memory of its own."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Ids": ...
    def __getitem__(self, place: int | slice) -> "str | Ids":
        return Ids(self.packed[place]) if isinstance(place, slice) else self.packed[place].tobytes().hex()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from unpack_ids(self.packed[start : start + _AT_ONCE])


def pack_ids(ids: Iterable[str]) -> Packed:
    """Ids in hex to shape (n, 32), uint8."""
    if isinstance(ids, Ids):
        return ids.packed
    rest, packed = iter(ids), bytearray()
    while some := "".join(islice(rest, _AT_ONCE)):
        packed += bytes.fromhex(some)
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, 32)


def unpack_ids(packed: Packed) -> list[str]:
    """The inverse of `pack_ids`."""
    return [row.tobytes().hex() for row in packed]


def as_keys(packed: Packed) -> Keys:
    """See packed ids as keys."""
    return np.ascontiguousarray(packed).view("S32").reshape(-1)
