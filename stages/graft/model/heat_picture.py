"""Heat maps over images, and the boxes that they suggest.

Letters: h, w height and width of an image; s side of a heat map.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.graft.heads.head import Float32
from stages.graft.images.preprocessing import Preprocessing, seen_region

BOX_LEVEL = 0.6
"""The box surrounds the largest area above this share of the way from the lowest to the highest value. Of 0.2 to 0.8,
0.6 and 0.65 gave the most boxes that overlap a person's by 30%, on images of steel."""

STEPS = 8
"""Points for each of a heat map's, along each side, at which the area's border is looked for."""

MAX_PX = 1024
"""Longer side of a picture, at most."""

OPACITY = 0.65
"""Of the hottest place."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in an upright image, in its pixels; right and bottom are the first ones outside."""

    left: int
    """First column."""
    top: int
    """First row."""
    right: int
    """Column after the last."""
    bottom: int
    """Row after the last."""


def box_of(heat: Float32, width: int, height: int, p: Preprocessing) -> Box:
    """Estimate where the reason for the answer is: the box around the largest hot area.

    Args:
        heat: shape (s, s).
        width: of the upright image, in pixels.
        height: in pixels.
        p: says which part of the image the heat map covers.
    """
    large = _resized(scaled(heat), STEPS * heat.shape[1], STEPS * heat.shape[0])
    _, _, areas, _ = cv2.connectedComponentsWithStats((large >= BOX_LEVEL).astype(np.uint8), connectivity=8)
    x, y, columns, rows, _ = areas[1 + int(np.argmax(areas[1:, cv2.CC_STAT_AREA]))]
    left, top, right, bottom = seen_region(p, width, height)
    across, down = (right - left) / large.shape[1], (bottom - top) / large.shape[0]
    return Box(
        left=_whole(left + x * across, width - 1),
        top=_whole(top + y * down, height - 1),
        right=max(_whole(left + (x + columns) * across, width), _whole(left + x * across, width - 1) + 1),
        bottom=max(_whole(top + (y + rows) * down, height), _whole(top + y * down, height - 1) + 1),
    )


def draw_heat(pixels: npt.NDArray[np.uint8], heat: Float32, p: Preprocessing) -> Image.Image:
    """Lay a heat map over an image: the hotter, the brighter and the less transparent; cold places stay as they are.

    Args:
        pixels: the upright image, shape (h, w, 3), uint8; the picture is smaller if a side is longer than MAX_PX.
        heat: shape (s, s).
        p: says which part of the image the heat map covers.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_PX, MAX_PX), Image.Resampling.BILINEAR)
    layer = heat_layer(heat, image.width, image.height, p)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def heat_layer(heat: Float32, width: int, height: int, p: Preprocessing) -> Image.Image:
    """Draw a heat map as a transparent layer, in mode RGBA, for an image of this size; arguments as in `box_of`."""
    shares = heat_over(heat, width, height, p)
    colours = cv2.applyColorMap((255 * shares).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = (255 * OPACITY * shares).astype(np.uint8)
    return Image.fromarray(np.dstack([colours, opacity]))


def heat_over(heat: Float32, width: int, height: int, p: Preprocessing) -> Float32:
    """Scale a heat map to [0, 1] and stretch it over an image, shape (height, width); 0 where the network sees nothing.

    Arguments are as in `box_of`.
    """
    left, top, right, bottom = (round(edge) for edge in seen_region(p, width, height))
    seen = _resized(scaled(heat), max(1, right - left), max(1, bottom - top))
    whole = np.zeros((height, width), np.float32)
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    inside = seen[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    whole[rows, columns][: inside.shape[0], : inside.shape[1]] = inside
    return whole


def scaled(heat: Float32) -> Float32:
    """Scale a heat map to values from 0 to 1; a constant one to 1."""
    lowest, highest = float(heat.min()), float(heat.max())
    return np.asarray((heat - lowest) / (highest - lowest) if highest > lowest else np.ones_like(heat), np.float32)


def _resized(heat: Float32, width: int, height: int) -> Float32:
    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _whole(edge: float, largest: int) -> int:
    return min(max(0, round(edge)), largest)
