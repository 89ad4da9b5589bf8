"""Which rows of many fragments belong to which ids: sorted arrays of 40 bytes a row, searched for many ids at once."""

import numpy as np
import numpy.typing as npt

from stages.graft.core.image_ids import Keys, Packed, as_keys

Numbers = npt.NDArray[np.int32]

NOWHERE = -1
"""In place of a fragment: the id is not here."""


_AT_ONCE = 1_000_000
"""Ids looked up at one time: what is compared is copied."""


class RowIndex:
    """Ids with the number of a fragment and a row in it; of an id added twice, the last place counts."""

    def __init__(self) -> None:
        self._keys: Keys = np.empty(0, "S32")
        self._places: Numbers = np.empty((0, 2), np.int32)
        self._added: list[tuple[Keys, Numbers]] = []

    def add(self, ids: Packed, fragment: int) -> None:
        """Add the ids of a fragment's rows, shape (n, 32), in the order of the rows."""
        places = np.column_stack([np.full(len(ids), fragment, np.int32), np.arange(len(ids), dtype=np.int32)])
        self._added.append((as_keys(ids).copy(), places))

    def find(self, ids: Packed) -> Numbers:
        """Find the places of ids.

        Args:
            ids: shape (n, 32), uint8; those in ascending order are found sooner.
        Returns:
            Fragment and row of each, shape (n, 2), int32; the fragment is NOWHERE for an id that is not here.
        """
        self._sort()
        keys, places = as_keys(ids), np.full((len(ids), 2), NOWHERE, np.int32)
        for start in range(0, len(keys), _AT_ONCE):
            wanted = keys[start : start + _AT_ONCE]
            found = np.searchsorted(self._keys, wanted, side="right") - 1  # the last one added, of several
            here = found >= 0
            here[here] = self._keys[found[here]] == wanted[here]
            places[start : start + len(wanted)][here] = self._places[found[here]]
        return places

    def _sort(self) -> None:
        """Merge what was added since the last search."""
        if not self._added:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._added)])
        places = np.concatenate([self._places, *(places for _, places in self._added)])
        self._added = []
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]
