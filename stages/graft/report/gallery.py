"""Galleries of the page: which images are shown, with thumbnails as text in the page."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.data.image_locations import image_locations
from stages.graft.images.crop import decode_whole
from stages.graft.images.location import ImageLocation, read_image_bytes
from stages.graft.images.preprocessing import Preprocessing, preprocessing_from, seen_part
from stages.graft.report.plot_tables import read_table
from stages.graft.storage.files import read_json
from stages.graft.storage.s3 import UnreachableError

SIDE_PX = 192
"""Longer side of a thumbnail, at most."""

MAX_BYTES = 8_000
"""Size of a thumbnail's file; a noisier image gets a lower quality."""

QUALITIES = (82, 60, 35, 15)
"""JPEG qualities, tried in turn."""

MAX_DOUBTFUL = 20
"""Images with doubtful labels that are shown, at most."""

UNSEEN, UNSEEN_SHARE = (138, 146, 154), 0.75
"""The grey that is mixed into what the network does not see, visible on light and dark pages, and its share."""

FindThumbnail = Callable[[str], str | None]
"""From an image's id to its thumbnail as a data address; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """An image with its text."""

    address: str | None
    """The thumbnail as a data address; None if the image is not available."""
    file: str
    """Path inside the source as the user knows it."""
    label: str
    """The given class."""
    other: str
    """The class that is predicted, or suggested instead."""
    share: float
    """The prediction's confidence, or the label's probability, [0, 1]."""
    notes: tuple[str, ...]
    """Further words: unsure, unknown, looks wrong, the split."""

    @property
    def differs(self) -> bool:
        """Whether the two classes are not the same."""
        return self.label != self.other


@dataclass(frozen=True, kw_only=True)
class ClassErrors:
    """The wrong answers to the test images of a class."""

    label: str
    """Its name."""
    num_images: int
    """Test images of the class."""
    num_errors: int
    """Those taken for another class."""
    mostly: str
    """The class that most of these were taken for."""
    images: Sequence[GalleryImage]
    """The most confident of them; may be empty."""


@dataclass(frozen=True, kw_only=True)
class Galleries:
    """The three galleries of the page."""

    errors: Sequence[ClassErrors]
    """Wrong answers on test by class, the class with the largest share of them first."""
    num_errors: int
    """Wrong answers on test, shown or not."""
    unsure: Sequence[GalleryImage]
    """Answers on test, the least confident first."""
    doubtful: Sequence[GalleryImage]
    """Images with doubtful labels."""
    num_doubtful: int
    """Images that look like another class, shown or not."""
    num_suspected: int
    """Of these, those whose label looks wrong."""

    @property
    def answers(self) -> list[GalleryImage]:
        """The images whose answer is shown: wrong or unsure."""
        return [*(image for one in self.errors for image in one.images), *self.unsure]


def read_galleries(root: Path, max_images: int) -> Galleries:
    """Read the galleries from the reports and the images; errors and unsure answers have `max_images` each, at most.

    Raises:
        DataError: a table is missing or cannot be read.
    """
    predictions, doubtful = (read_table(root / f"reports/{name}.csv") for name in ("predictions", "label_errors"))
    thumbnail = image_thumbnails(root)
    return Galleries(
        errors=errors_by_class(predictions, max_images, thumbnail),
        num_errors=int((predictions["label"] != predictions["predicted"]).sum()),
        unsure=unsure_answers(predictions, max_images, thumbnail),
        doubtful=doubtful_labels(doubtful, MAX_DOUBTFUL, thumbnail),
        num_doubtful=len(doubtful),
        num_suspected=int(doubtful["suspected"].astype(bool).sum()),
    )


def errors_by_class(predictions: pd.DataFrame, max_images: int, thumbnail: FindThumbnail) -> list[ClassErrors]:
    """Choose wrong answers of each class, the most confident first: one of every class, then a second one, and so on.

    Args:
        predictions: id, file, label, predicted, confidence, unsure, unknown.
        max_images: maximum number, of all classes together.
        thumbnail: gives the pictures.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    wrong = wrong.sort_values(["confidence", "id"], ascending=[False, True])
    rank = wrong.groupby("label").cumcount()
    shown = wrong[rank.index.isin(rank.sort_values(kind="stable").head(max_images).index)]
    num_images = predictions["label"].value_counts()
    classes = [
        ClassErrors(
            label=str(label),
            num_images=int(num_images[label]),
            num_errors=len(errors),
            mostly=str(errors["predicted"].value_counts(sort=False).sort_index().idxmax()),
            images=_answers(shown[shown["label"] == label], thumbnail),
        )
        for label, errors in wrong.groupby("label")
    ]
    return sorted(classes, key=lambda one: -one.num_errors / one.num_images)  # of equals, in the order of the names


def unsure_answers(predictions: pd.DataFrame, max_images: int, thumbnail: FindThumbnail) -> list[GalleryImage]:
    """Choose answers, right or wrong, the least confident first; arguments as in `errors_by_class`."""
    return _answers(predictions.sort_values(["confidence", "id"]).head(max_images), thumbnail)


def doubtful_labels(table: pd.DataFrame, max_images: int, thumbnail: FindThumbnail) -> list[GalleryImage]:
    """Choose images with doubtful labels: the suspected first, then the least probable.

    Args:
        table: id, file, label, suggested, score, suspected, split.
        max_images: maximum number.
        thumbnail: gives the pictures.
    """
    table = table.assign(suspected=table["suspected"].astype(bool))  # an empty table has no truth values
    ordered = table.sort_values(["suspected", "score", "id"], ascending=[False, True, True])
    return [
        _image(row, thumbnail, row["suggested"], row["score"], (row["split"], *(["looks wrong"] * row["suspected"])))
        for row in ordered.head(max_images).to_dict("records")
    ]


def thumbnail_maker(locate: Callable[[str], ImageLocation], preprocessing: Preprocessing) -> FindThumbnail:
    """Give a function that makes thumbnails, each once, as `make_thumbnail` does.

    It returns None when the image is missing or cannot be read; after a storage cannot be reached, it asks no more.

    Raises:
        ChangedError: from that function, when an image in place has changed since it was ingested.
    """
    unreachable = False

    @cache  # an error is often among the unsure answers
    def find_thumbnail(id_: str) -> str | None:
        nonlocal unreachable
        try:
            if not unreachable:
                return data_address(make_thumbnail(read_image_bytes(locate(id_)), preprocessing), "image/jpeg")
        except UnreachableError:
            unreachable = True
        except (DataError, OSError):
            pass
        return None

    return find_thumbnail


def make_thumbnail(data: bytes, preprocessing: Preprocessing) -> bytes:
    """Shrink an image file to a JPEG of at most SIDE_PX a side and, if the lowest quality allows, MAX_BYTES.

    Args:
        data: the file's bytes.
        preprocessing: the network's; what it does not see becomes grey.
    Raises:
        DataError, OSError: the image is damaged.
    """
    image = Image.fromarray(decode_whole(data, SIDE_PX, preprocessing.white_level))
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    image = dim_unseen(image, preprocessing)
    return encode_jpeg(image, MAX_BYTES)


def encode_jpeg(image: Image.Image, max_bytes: int) -> bytes:
    """Encode an image as JPEG, with the highest of QUALITIES that keeps it within a size, or the lowest."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= max_bytes:
            break
    return buffer.getvalue()


def dim_unseen(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Mix grey into the part of an image that the network does not see."""
    left, top, right, lower = map(round, seen_part(preprocessing, *image.size))
    dimmed = Image.blend(image, Image.new(image.mode, image.size, UNSEEN), UNSEEN_SHARE)
    dimmed.paste(image.crop((left, top, right, lower)), (left, top))
    return dimmed


def data_address(data: bytes, media_type: str) -> str:
    """Write a file's bytes as a data address; its media type is one such as image/png."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image_thumbnails(root: Path) -> FindThumbnail:
    """Give the thumbnails of a project's images; none when its manifest is not here."""
    manifest, report = root / "data/manifest.csv", root / "reports/extract.json"
    if not manifest.exists():  # `dvc pull` brings it
        return lambda _: None
    preprocessing = preprocessing_from(read_json(report)["backbone"]["preprocessing"])
    return thumbnail_maker(image_locations(manifest, root / "data/images"), preprocessing)


def _answers(rows: pd.DataFrame, thumbnail: FindThumbnail) -> list[GalleryImage]:
    return [
        _image(row, thumbnail, row["predicted"], row["confidence"], _true(row, "unsure", "unknown"))
        for row in rows.to_dict("records")
    ]


def _image(
    row: dict[Any, Any], thumbnail: FindThumbnail, other: str, share: float, notes: tuple[str, ...]
) -> GalleryImage:
    return GalleryImage(
        address=thumbnail(row["id"]), file=row["file"], label=row["label"], other=other, share=float(share), notes=notes
    )


def _true(row: dict[Any, Any], *columns: str) -> tuple[str, ...]:
    """The columns that are true in a row."""
    return tuple(name for name in columns if row[name])
