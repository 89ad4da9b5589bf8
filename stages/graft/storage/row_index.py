"""Index from ids to rows of many fragments: sorted arrays of 40 bytes a row, searched for many ids at once."""

import numpy as np
import numpy.typing as npt

from stages.graft.core.image_ids import Keys, Packed, as_keys

Locations = npt.NDArray[np.int32]
"""Number of a fragment and row in it, shape (n, 2)."""

NOT_FOUND = -1
"""In place of a fragment's number: the index does not have the id."""

_CHUNK_ROWS = 1_000_000
"""Ids searched at the same time, which bounds the memory of the comparison."""


class RowIndex:
    """Ids with their fragment and row; for an id added twice, the last one counts."""

    def __init__(self) -> None:
        self._keys: Keys = np.empty(0, "S32")
        self._locations: Locations = np.empty((0, 2), np.int32)
        self._added: list[tuple[Keys, Locations]] = []

    def add(self, ids: Packed, fragment: int) -> None:
        """Add the ids of a fragment's rows, shape (n, 32), in the order of the rows."""
        locations = np.column_stack([np.full(len(ids), fragment, np.int32), np.arange(len(ids), dtype=np.int32)])
        self._added.append((as_keys(ids).copy(), locations))

    def find(self, ids: Packed) -> Locations:
        """Find the fragment and row of each id.

        Args:
            ids: shape (n, 32), uint8; ascending ids are found faster.
        Returns:
            Shape (n, 2), int32; the fragment is NOT_FOUND for an id that was not added.
        """
        self._sort()
        keys, locations = as_keys(ids), np.full((len(ids), 2), NOT_FOUND, np.int32)
        for start in range(0, len(keys), _CHUNK_ROWS):
            chunk = keys[start : start + _CHUNK_ROWS]
            positions = np.searchsorted(self._keys, chunk, side="right") - 1  # the last one added, of several
            is_found = positions >= 0
            is_found[is_found] = self._keys[positions[is_found]] == chunk[is_found]
            locations[start : start + len(chunk)][is_found] = self._locations[positions[is_found]]
        return locations

    def forget(self, fragment: int) -> None:
        """Remove the rows of a fragment; an id that another one has too is found there."""
        self._sort()
        is_kept = self._locations[:, 0] != fragment
        self._keys, self._locations = self._keys[is_kept], self._locations[is_kept]

    def _sort(self) -> None:
        """Merge the ids added since the last search."""
        if not self._added:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._added)])
        locations = np.concatenate([self._locations, *(locations for _, locations in self._added)])
        self._added = []
        order = np.argsort(keys, kind="stable")
        self._keys, self._locations = keys[order], locations[order]
