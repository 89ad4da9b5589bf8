"""Near-duplicates on the page: the largest groups, and the surest pairs under two labels, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.graft.report.gallery import FindThumbnail

MAX_GROUPS, MAX_PER_GROUP, MAX_PAIRS = 5, 6, 6
"""Groups, images of each and pairs that are shown, at most."""


@dataclass(frozen=True, kw_only=True)
class DuplicateImage:
    """An image of a group or a pair."""

    address: str | None
    """The thumbnail as a data address; None if the image is not available."""
    file: str
    """Path inside the source as the user knows it."""
    label: str
    """Its class."""


@dataclass(frozen=True, kw_only=True)
class DuplicateImages:
    """What the page shows of near-duplicates."""

    groups: Sequence[Sequence[DuplicateImage]]
    """The largest groups, each with its first images."""
    pairs: Sequence[Sequence[DuplicateImage]]
    """The surest pairs under two labels."""


def duplicate_images(record: Mapping[str, Any], thumbnail: FindThumbnail) -> DuplicateImages:
    """Choose what is shown.

    Args:
        record: the stage's report.
        thumbnail: gives the pictures.
    """

    def image(row: Mapping[str, Any], side: str = "") -> DuplicateImage:
        id_ = row[side.removesuffix("_") or "id"]
        return DuplicateImage(address=thumbnail(id_), file=row[f"{side}file"], label=row[f"{side}label"])

    return DuplicateImages(
        groups=[[image(row) for row in rows[:MAX_PER_GROUP]] for rows in record["groups"][:MAX_GROUPS]],
        pairs=[[image(row, "first_"), image(row, "second_")] for row in record["conflicts"][:MAX_PAIRS]],
    )
