"""Small copies of images as text that a page can hold: JPEG in a data address, bounded in pixels and in bytes."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pandas as pd
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.images.decode import open_header, to_rgb, turn_upright
from stages.graft.images.location import ImageLocation, read_image_bytes
from stages.graft.storage.s3 import UnreachableError

SIDE_PX = 192
"""Of the longer side, at most."""

MAX_BYTES = 12_000
"""Of a file; a noisier image is packed harder."""

QUALITIES = (82, 60, 35, 15)
"""JPEG's, tried in turn."""


def thumbnail_maker(path_of: Callable[[str], ImageLocation]) -> Callable[[str], str | None]:
    """Give the function from an id to a small copy of the image as a data address, made once.

    It gives None when the image is not here or cannot be read; where a place cannot be reached, none is asked again.

    Args:
        path_of: where an image is.
    Raises:
        ChangedError: from that function, when an image in place has changed since it was ingested.
    """
    unreachable = False

    @cache  # an error is often among the least sure
    def thumbnail_address(id_: str) -> str | None:
        nonlocal unreachable
        try:
            if not unreachable:
                return data_address(thumbnail(read_image_bytes(path_of(id_))), "image/jpeg")
        except UnreachableError:
            unreachable = True
        except (DataError, OSError):
            pass
        return None

    return thumbnail_address


def thumbnail(data: bytes) -> bytes:
    """Shrink an image file to a JPEG of at most SIDE_PX a side and, where that can be had, MAX_BYTES.

    Raises:
        DataError, OSError: the image is damaged.
    """
    image = _reduced(data)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    packed = b""
    for quality in QUALITIES:
        packed = _jpeg(image, quality)
        if len(packed) <= MAX_BYTES:
            break
    return packed


def data_address(data: bytes, kind: str) -> str:
    """Write bytes as an address that holds them.

    Args:
        data: a file's bytes.
        kind: its media type, such as image/png.
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _reduced(data: bytes) -> Image.Image:
    """Decode upright; a large JPEG no larger than is needed."""
    image = open_header(data)
    if image.format == "JPEG":
        image.draft(image.mode, (2 * SIDE_PX, 2 * SIDE_PX))
    return to_rgb(turn_upright(image))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


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
