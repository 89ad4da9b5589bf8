"""Images to answers: the model's, in words and numbers, with heat map, preview and the nearest training images."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict

from stages.graft.core.errors import DataError
from stages.graft.core.memory import one_image
from stages.graft.heads.head import Float32
from stages.graft.images.crop import decode_whole
from stages.graft.images.preprocessing import Preprocessing, seen_part
from stages.graft.model.heat_picture import heat_layer
from stages.graft.model.predictor import Explained, ImageFile, Predictor, probability_column
from stages.graft.report.gallery import data_address, dim_unseen, make_thumbnail
from stages.graft.serving.answer_log import AnswerLog, LogRow
from stages.graft.serving.limits import check_duration
from stages.graft.serving.neighbours import TrainingImages

PREVIEW_PX, MAP_PX = 640, 64
"""Longer sides of a preview and of a heat map, in pixels; a heat map is smooth, and stretched where it is shown."""


class Described(BaseModel):
    """A part of an answer in JSON; the text below a field describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class NearImage(Described):
    """A training image that is near."""

    label: str
    """Its class."""
    distance: float
    """Of the standardised features, root mean square; smaller is nearer."""
    thumbnail: str
    """Address of a small JPEG, on this server."""


class ImageAnswer(Described):
    """The answer to an image."""

    file: str
    """The client's name of the image; empty if it gave none."""
    error: str | None = None
    """Why it cannot be read; all below is then null or empty."""
    words: str | None = None
    """The answer in a sentence."""
    label: str | None = None
    """The likeliest class."""
    confidence: float | None = None
    """Its calibrated probability."""
    unsure: bool | None = None
    """The probability is too low to rely on; a person should look."""
    unknown: bool | None = None
    """The image is like none of the classes."""
    distance: float | None = None
    """From the nearest class; about 1 or less for images like the training images."""
    probabilities: dict[str, float] = {}
    """Of each class."""
    heat_map: str | None = None
    """Where the reason for the answer is: a transparent PNG over the whole upright image, as a data: address."""
    preview: str | None = None
    """The upright image as a small JPEG, as a data: address."""
    sees_all: bool | None = None
    """With a picture: whether the network sees the whole image; else the edge of the preview is grey."""
    nearest: list[NearImage] = []
    """The nearest training images, the nearest first."""


class ModelAnswers(Described):
    """Answers to the images of a request, in their order."""

    model: str
    """The model's version."""
    answers: list[ImageAnswer]
    """One for each image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An image and what is wanted of it."""

    data: bytes
    """The image file."""
    file: str
    """The client's name of it."""
    with_map: bool = False
    """Whether a heat map is wanted."""
    with_preview: bool = False
    """Whether a preview is wanted."""
    num_nearest: int = 0
    """How many training images are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures in an answer, as data: addresses."""

    preview: str | None = None
    """The image; None when it is not wanted."""
    sees_all: bool | None = None
    """Whether the network sees all of it."""
    heat_map: str | None = None
    """The heat map; None when it is not wanted."""


class Answering:
    """Answers images with a model."""

    def __init__(
        self,
        predictor: Predictor,
        version: str,
        max_pixels: int,
        training: TrainingImages | None,
        log: AnswerLog | None,
    ) -> None:
        """Answer with a predictor.

        Args:
            predictor: the model.
            version: SHA-256 of its record.
            max_pixels: larger images are refused.
            training: images to compare with; None: none are here.
            log: takes every answer; None: there is no log.
        """
        predictor.max_pixels = min(predictor.max_pixels, max_pixels)
        self.predictor, self.version, self.training, self._log = predictor, version, training, log

    @property
    def maps_problem(self) -> str | None:
        """Say why heat maps are not shown; None when they are."""
        trust = self.predictor.trust
        if not self.predictor.has_maps:
            return "the network gives no maps from which they could be made"
        if not trust.num_images:
            return "it was not measured whether they can be trusted"
        counts = f"on {trust.num_images} validation images, {trust.num_better}"
        return None if trust.is_trusted else f"{counts} were better than the heat map of another image, as by chance"

    def answer(self, asked: Sequence[Asked]) -> list[ImageAnswer]:
        """Answer at most a batch of images."""
        with_maps = self.maps_problem is None and any(one.with_map for one in asked)
        files = [ImageFile(name=one.file, read=partial(check_duration, one.data)) for one in asked]
        explained = self.predictor.answer_batch(files, with_maps)
        return [self._answer(one, found) for one, found in zip(asked, explained, strict=True)]

    def _answer(self, asked: Asked, found: Explained) -> ImageAnswer:
        row = found.row
        if row["error"] is not None or found.x is None:
            return ImageAnswer(file=asked.file, error=row["error"])
        probabilities = {label: row[probability_column(label)] for label in self.predictor.classes}
        if self._log is not None:
            self._log.add(self._log_row(asked, row, found.x))
        pictures = self._pictures(asked, found)
        return ImageAnswer(
            file=asked.file,
            words=in_words(row["label"], row["confidence"], row["unsure"], row["unknown"]),
            probabilities=probabilities,
            heat_map=pictures.heat_map,
            preview=pictures.preview,
            sees_all=pictures.sees_all,
            nearest=self._nearest(found.x, asked.num_nearest),
            **{name: row[name] for name in ("label", "confidence", "unsure", "unknown", "distance")},
        )

    def _nearest(self, x: Float32, number: int) -> list[NearImage]:
        if self.training is None or not number:
            return []
        return [
            NearImage(label=one.label, distance=round(one.distance, 4), thumbnail=f"training/{one.id}.jpg")
            for one in self.training.nearest(x, number)
        ]

    def _pictures(self, asked: Asked, found: Explained) -> Pictures:
        """Draw the preview and the heat map, if they are wanted."""
        heat = found.heat if asked.with_map else None
        if heat is None and not asked.with_preview:
            return Pictures()
        p = self.predictor.preprocessing
        with one_image():
            image = Image.fromarray(decode_whole(asked.data, PREVIEW_PX, p.white_level))
        image.thumbnail((PREVIEW_PX, PREVIEW_PX), Image.Resampling.BILINEAR)
        preview = _address(dim_unseen(image, p), "JPEG", "image/jpeg") if asked.with_preview else None
        return Pictures(
            preview=preview,
            sees_all=tuple(map(round, seen_part(p, *image.size))) == (0, 0, *image.size),
            heat_map=None if heat is None else _map(heat, image.size, p),
        )

    def _log_row(self, asked: Asked, row: dict[str, Any], x: Float32) -> LogRow:
        with one_image():
            try:
                thumbnail = make_thumbnail(asked.data, self.predictor.preprocessing)
            except (DataError, OSError):
                thumbnail = b""
        return LogRow(
            **{name: row[name] for name in ("label", "confidence", "unsure", "unknown", "distance")},
            time=datetime.now(UTC),
            model=self.version,
            file=asked.file,
            image_id=hashlib.sha256(asked.data).hexdigest(),
            thumbnail=thumbnail,
            probabilities=tuple(row[probability_column(label)] for label in self.predictor.classes),
            features=x,
        )


def _map(heat: Float32, size: tuple[int, int], p: Preprocessing) -> str:
    """Draw a heat map for an image of this width and height, as a data: address."""
    scale = min(1.0, MAP_PX / max(size))
    width, height = (max(1, round(scale * side)) for side in size)
    return _address(heat_layer(heat, width, height, p), "PNG", "image/png")


def in_words(label: str, confidence: float, unsure: bool, unknown: bool) -> str:
    """Say an answer in a sentence."""
    share = f"{confidence:.0%}" if confidence < 0.995 else "over 99%"
    if unknown:
        return f"Unknown: the image is like none of the classes. The most similar one is {label}."
    if unsure:
        return f"Not sure, perhaps {label} ({share}). A person should look."
    return f"{label} ({share})."


def _address(image: Image.Image, format_: str, media_type: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format_, compress_level=1)  # of PNG: a higher one takes as long as the network
    return data_address(buffer.getvalue(), media_type)
