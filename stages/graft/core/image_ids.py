"""Ids of images, the SHA-256 of their bytes: text of 64 hex digits, or packed in 32 bytes each."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint8]
"""Shape (n, 32), uint8."""

Keys = npt.NDArray[np.bytes_]
"""Packed ids to sort and search: shape (n,), 32 bytes each, in the order of the text."""

_CHUNK_ROWS = 100_000
"""Ids that are text at the same time while many are packed or iterated."""


class Ids(Sequence[str]):
    """Packed ids that read as text. A slice is packed too and shares the memory."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Ids": ...
    def __getitem__(self, index: int | slice) -> "str | Ids":
        return Ids(self.packed[index]) if isinstance(index, slice) else self.packed[index].tobytes().hex()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK_ROWS):
            yield from unpack_ids(self.packed[start : start + _CHUNK_ROWS])


def pack_ids(ids: Iterable[str]) -> Packed:
    """Convert ids in hex to an array of shape (n, 32), uint8."""
    if isinstance(ids, Ids):
        return ids.packed
    remaining, packed = iter(ids), bytearray()
    while chunk := "".join(islice(remaining, _CHUNK_ROWS)):
        packed += bytes.fromhex(chunk)
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, 32)


def unpack_ids(packed: Packed) -> list[str]:
    """Convert packed ids back to text."""
    return [row.tobytes().hex() for row in packed]


def as_keys(packed: Packed) -> Keys:
    """View packed ids as keys."""
    return np.ascontiguousarray(packed).view("S32").reshape(-1)
