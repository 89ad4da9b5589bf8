"""Random views of an image by preset. A view depends only on the seed, the image and its number, not on the order."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from stages.graft.images.decode import Batch

Preset = Literal["none", "grain", "texture", "natural"]
"""none; grain: flips, half turns, light and contrast, for surfaces with a direction, such as rolled metal or wood;
texture: quarter turns as well, for surfaces without one; natural: resized crops, left-right flips, light, contrast and
colour, for photographs of things."""

SURFACE_LIGHT, NATURAL_LIGHT = 0.15, 0.3
"""Brightness and contrast are multiplied by 1 plus or minus up to this."""

NATURAL_AREA, NATURAL_STRETCH = (0.5, 1.0), 4 / 3
"""Share of the image that a crop keeps, and its largest aspect ratio. Training from scratch uses less (0.08)."""


def view(image: Batch, preset: Preset, seed: int, id_: str, number: int) -> Batch:
    """Draw the view of an image with an id and a number; both images have shape (h, h, 3), uint8."""
    if preset == "none":
        return image
    key = hashlib.sha256(f"{seed} {id_} {number}".encode()).digest()
    rng = np.random.default_rng(list(key))
    changed = _PRESETS[preset](torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), rng)
    return np.ascontiguousarray(changed.permute(1, 2, 0).numpy())


def _surface(x: Tensor, rng: np.random.Generator, *, quarters: int) -> Tensor:
    """Flip, turn by a multiple of so many quarter turns, light."""
    x = functional.horizontal_flip(x) if rng.random() < 0.5 else x
    x = torch.rot90(x, quarters * int(rng.integers(4)), (1, 2))
    return _light(x, rng, SURFACE_LIGHT)


def _natural(x: Tensor, rng: np.random.Generator) -> Tensor:
    size = x.shape[1]
    area, stretch = rng.uniform(*NATURAL_AREA), NATURAL_STRETCH ** rng.uniform(-1, 1)
    height = min(size, round(size * (area / stretch) ** 0.5))
    width = min(size, round(size * (area * stretch) ** 0.5))
    top, left = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
    x = functional.resized_crop(x, top, left, height, width, [size, size], antialias=True)
    x = functional.horizontal_flip(x) if rng.random() < 0.5 else x
    coloured: Tensor = functional.adjust_saturation(_light(x, rng, NATURAL_LIGHT), rng.uniform(0.7, 1.3))
    return coloured


def _light(x: Tensor, rng: np.random.Generator, spread: float) -> Tensor:
    x = functional.adjust_brightness(x, rng.uniform(1 - spread, 1 + spread))
    lit: Tensor = functional.adjust_contrast(x, rng.uniform(1 - spread, 1 + spread))
    return lit


_PRESETS: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "grain": partial(_surface, quarters=2),
    "texture": partial(_surface, quarters=1),
    "natural": _natural,
}
