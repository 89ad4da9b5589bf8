"""How an image is prepared for a network: which part of it, sizes, resampling, normalisation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Fit = Literal["squash", "pad", "crop"]
"""How an image becomes a square. squash: both sides are scaled to the square's; pad: the longer side is, and the rest
is filled; crop: the middle square is kept. A square image without a margin (resize_px = crop_px) is the same in all."""

FitChoice = Literal["auto", "squash", "pad", "crop"]
"""The parameter `backbone.fit`."""

Lengths = npt.NDArray[np.int64]
"""Widths or heights of images, in pixels, shape (n,)."""

MIN_CROPPED = 0.7
"""Least share of the images' pixels that a crop must show on average for auto to crop. A crop is better for photographs
of things, 4 by 3 (0.75), squash for longer surfaces, with marks anywhere; `data/backbones/` has the measurements."""

LEAST_SEEN = 0.9
"""Share of the images' pixels below which the user is told how little of them the network sees."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an image file to the network's input."""

    resize_px: int
    """For crop: the shorter side is scaled to this, in pixels."""
    crop_px: int
    """Side of the square, in pixels; for crop, the middle square of the resized image."""
    interpolation: Literal["bilinear", "bicubic"]
    """How pixels are resampled; antialiased."""
    mean: tuple[float, float, float]
    """Subtracted per channel of RGB in [0, 1]."""
    std: tuple[float, float, float]
    """Divided by, after the mean."""
    fit: Fit = "crop"
    """How the image becomes a square; squash and pad leave out no pixel."""
    white_level: float | None = None
    """The value that becomes white where pixels have more than 8 bits, as in `decode`; None for 65535."""

    def to_record(self) -> dict[str, Any]:
        """Give the fields as JSON values, without those that are as in _LATER: earlier records stay valid."""
        return {name: value for name, value in asdict(self).items() if _LATER.get(name, ...) != value}


_LATER = {"fit": "crop", "white_level": None}
"""Fields that were added later, with the value that says what was done before."""


def preprocessing_from(record: Mapping[str, Any]) -> Preprocessing:
    """Read a preprocessing back from JSON, where tuples have become lists."""
    return Preprocessing(**{**record, "mean": tuple(record["mean"]), "std": tuple(record["std"])})


def resized(preprocessing: Preprocessing, input_px: int | None) -> Preprocessing:
    """The same, for another input size; None changes nothing."""
    if input_px is None:
        return preprocessing
    resize_px = round(input_px * preprocessing.resize_px / preprocessing.crop_px)
    return replace(preprocessing, resize_px=resize_px, crop_px=input_px)


def choose_fit(choice: FitChoice, widths: Lengths, heights: Lengths) -> Fit:
    """Give the fit for images of these sizes, in pixels: auto crops where that shows most of them, else squashes."""
    if choice != "auto":
        return choice
    return "crop" if middle_share(widths, heights) >= MIN_CROPPED else "squash"


def middle_share(widths: Lengths, heights: Lengths) -> float:
    """Give the share of an image's pixels in its middle square, the mean over images of these sizes."""
    return float((np.minimum(widths, heights) / np.maximum(widths, heights)).mean())


def seen_share(p: Preprocessing, widths: Lengths, heights: Lengths) -> float:
    """Give the share of an image's pixels that the network sees, the mean over images of these sizes in pixels."""
    if p.fit != "crop":
        return 1.0
    return middle_share(widths, heights) * (p.crop_px / p.resize_px) ** 2


def seen_part(p: Preprocessing, width: int, height: int) -> tuple[float, float, float, float]:
    """Give the part of an image of this size that the network sees: its left, top, right and lower edge, in pixels."""
    if p.fit != "crop":
        return 0, 0, width, height
    side = min(width, height) * p.crop_px / p.resize_px
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def seen_region(p: Preprocessing, width: int, height: int) -> tuple[float, float, float, float]:
    """Give the part of an image that the network's square covers, as `seen_part`; with pad, it reaches beyond it."""
    if p.fit != "pad":
        return seen_part(p, width, height)
    side = max(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
