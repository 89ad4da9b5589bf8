"""Images worth a look: the surest errors, the least sure answers, the labels in doubt."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An image with what is said about it."""

    address: str | None
    """A small copy as a data address; None when the image is not at hand."""
    file: str
    """Path inside the source as the user knows it."""
    label: str
    """As given."""
    other: str
    """Class predicted, or suggested in its place."""
    share: float
    """The prediction's confidence, or how probable the label is, [0, 1]."""
    notes: tuple[str, ...] = ()
    """What else is to be said: unsure, unknown, the split."""

    @property
    def differs(self) -> bool:
        """Whether the two classes are not the same."""
        return self.label != self.other


Address = Callable[[str], str | None]
"""From an id to a data address."""


def worst_errors(predictions: pd.DataFrame, most: int, address: Address) -> list[Tile]:
    """Show wrong answers, the surest first.

    Args:
        predictions: id, file, label, predicted, confidence, unsure, unknown.
        most: tiles at most.
        address: gives the pictures.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return _answers(wrong.sort_values(["confidence", "id"], ascending=[False, True]).head(most), address)


def least_sure(predictions: pd.DataFrame, most: int, address: Address) -> list[Tile]:
    """Show answers, right or wrong, of the lowest confidence; arguments as in `worst_errors`."""
    return _answers(predictions.sort_values(["confidence", "id"]).head(most), address)


def doubtful_labels(table: pd.DataFrame, most: int, address: Address) -> list[Tile]:
    """Show images whose label is in doubt: those suspected first, then the least probable.

    Args:
        table: id, file, label, suggested, score, suspected, split.
        most: tiles at most.
        address: gives the pictures.
    """
    # An empty table has no truth values to tell the column by.
    ordered = table.assign(doubt=table["suspected"].astype(bool)).sort_values(
        ["doubt", "score", "id"], ascending=[False, True, True]
    )
    return [
        Tile(
            address=address(row["id"]),
            file=row["file"],
            label=row["label"],
            other=row["suggested"],
            share=float(row["score"]),
            notes=(row["split"], *(["suspected"] if row["doubt"] else [])),
        )
        for row in ordered.head(most).to_dict("records")
    ]


def _answers(rows: pd.DataFrame, address: Address) -> list[Tile]:
    return [
        Tile(
            address=address(row["id"]),
            file=row["file"],
            label=row["label"],
            other=row["predicted"],
            share=float(row["confidence"]),
            notes=tuple(name for name in ("unsure", "unknown") if row[name]),
        )
        for row in rows.to_dict("records")
    ]
