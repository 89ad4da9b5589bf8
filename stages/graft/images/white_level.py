"""More than 8 bits in a pixel to 8: the white level is the value that becomes white."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ConfigDict, PositiveFloat

from stages.graft.core.errors import DataError
from stages.graft.core.params import Params

WhiteLevel = PositiveFloat | None
"""The parameter `ingest.white_level`."""


class WhiteLevelParams(Params):
    """The value of the section `ingest` that matters where images are decoded again."""

    model_config = ConfigDict(extra="ignore")

    white_level: WhiteLevel
    """Value that becomes white where pixels have more than 8 bits; null: 65535."""


WHITE_16 = 65535
"""The white of 16 bits, where no other is given."""

BRIGHT = 0.999
"""Share of an image's values below the one that counts as its brightest: a few hot pixels or a label do not count."""

BAND_VALUES = 2**20
"""Values that are converted at once."""

Values = npt.NDArray[Any]
"""Pixels with more than 8 bits: grey (h, w) or RGB and perhaps alpha (h, w, 3 or 4); uint16, int32 or float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepRange:
    """The values of an image with more than 8 bits."""

    largest: float
    """The largest value."""
    bright: float
    """All values but one in a thousand are at most this."""
    is_float: bool
    """Whether the values are floating-point numbers."""
    clipped: float
    """Share of the values above the white level or below 0, which are clipped, [0, 1]."""


def deep_values(image: Image.Image, data: bytes) -> Values | None:
    """Give the values of an image with more than 8 bits; None for any other.

    Args:
        image: the open file.
        data: its bytes: Pillow gives only the upper 8 bits of colours.
    """
    if is_deep_grey(image):
        return np.asarray(image)
    if not image.info.get("deep_colour"):
        return None
    import cv2  # 60 ms, which few images need

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        return None
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]  # OpenCV gives BGR


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an image has one channel of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def note_deep_colour(image: Image.Image) -> None:
    """Note in the image's info, before it is loaded, whether the file has 16 bits in each colour."""
    image.info["deep_colour"] = image.mode in ("RGB", "RGBA", "LA") and any(
        ";16" in str(tile) for tile in getattr(image, "tile", ())
    )


def deep_range(values: Values, white_level: float | None) -> DeepRange:
    """Describe the values of an image, without its alpha."""
    colours, white = values[..., :3] if values.ndim == 3 else values, white_level or WHITE_16
    rank = min(colours.size - 1, int(BRIGHT * colours.size))
    return DeepRange(
        largest=float(colours.max()),
        bright=float(np.partition(colours, rank, axis=None)[rank]),
        is_float=bool(colours.dtype.kind == "f"),
        clipped=float(((colours > white) | (colours < 0)).mean()),
    )


def to_8_bits(values: Values, white_level: float | None) -> npt.NDArray[np.uint8]:
    """Give `255 * value / white`, rounded down, between 0 and 255; a value above white is white, one below 0 black.

    Args:
        values: grey, or RGB with alpha or without; alpha has 16 bits whatever the white level.
        white_level: above 0; None for 65535, and then whole numbers from 0 to 65535 only.
    Raises:
        DataError: floating-point or 32-bit values without a white level; NaN.
    """
    if white_level is None:
        _check_16_bits(values)
    result = np.empty(values.shape, np.uint8)
    rows = max(1, BAND_VALUES // max(1, values[0].size))
    for top in range(0, len(values), rows):  # whole, the numbers between would take 16 bytes each
        result[top : top + rows] = _scaled(values[top : top + rows], WHITE_16 if white_level is None else white_level)
    return result


def _scaled(values: Values, white: float) -> npt.NDArray[np.uint8]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("has pixels that are no numbers (NaN or infinite); fill them before you save it")
    exact = values.dtype.kind != "f" and float(white).is_integer()
    scaled = values.astype(np.int64) * 255 // int(white) if exact else np.floor(values.astype(np.float64) * 255 / white)
    result = scaled.clip(0, 255).astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 4:
        result[..., 3] = values[..., 3] // 257
    return result


def _check_16_bits(values: Values) -> None:
    """Refuse what has no white of its own."""
    cure = "set `ingest.white_level` to the value that is white, or save the image with 8 or 16 bits"
    if values.dtype.kind == "f":
        raise DataError(f"floating-point pixels (up to {float(np.nanmax(values)):g}) have no fixed white; {cure}")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > WHITE_16:
        raise DataError(f"grey values from {low} to {high} are not 16-bit (0 to {WHITE_16}); {cure}")
