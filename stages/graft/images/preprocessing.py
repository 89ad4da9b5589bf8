"""How an image is prepared for a network: sizes, resampling, normalisation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an upright RGB image to the network's input."""

    resize_px: int
    """The shorter side is scaled to this, in pixels."""
    crop_px: int
    """The middle square of this side is kept, in pixels."""
    interpolation: Literal["bilinear", "bicubic"]
    """How pixels are resampled; antialiased."""
    mean: tuple[float, float, float]
    """Subtracted per channel of RGB in [0, 1]."""
    std: tuple[float, float, float]
    """Divided by, after the mean."""


def preprocessing_from(record: Mapping[str, Any]) -> Preprocessing:
    """Read a preprocessing back from JSON, where tuples have become lists."""
    return Preprocessing(**{**record, "mean": tuple(record["mean"]), "std": tuple(record["std"])})


def resized(preprocessing: Preprocessing, input_px: int | None) -> Preprocessing:
    """The same, for another input size; None changes nothing."""
    if input_px is None:
        return preprocessing
    resize_px = round(input_px * preprocessing.resize_px / preprocessing.crop_px)
    return replace(preprocessing, resize_px=resize_px, crop_px=input_px)
