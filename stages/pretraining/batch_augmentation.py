"""Random views of a batch of images, drawn from an explicit generator: an affine warp, then light and colour."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Luma of ITU-R BT.601, as Pillow's conversion to grey."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a view may stray from its image."""

    min_area: float = 1.0
    """Smallest part of the image a crop keeps, (0, 1]; 1 keeps the whole image."""
    max_stretch: float = 1.0
    """Largest change of aspect ratio, at least 1; 1 keeps it."""
    max_angle: float = 0.0
    """Largest rotation either way, in degrees."""
    quarter_turns: bool = False
    """Turn by a random multiple of 90 degrees."""
    flip_horizontal: bool = False
    """Mirror left to right half of the time."""
    flip_vertical: bool = False
    """Mirror top to bottom half of the time."""
    brightness: float = 0.0
    """Light is multiplied by 1 plus or minus up to this."""
    contrast: float = 0.0
    """Distance from the image's mean is multiplied by 1 plus or minus up to this."""
    saturation: float = 0.0
    """Distance from grey is multiplied by 1 plus or minus up to this."""
    grey: float = 0.0
    """Probability of losing all colour."""


def augment(images: Tensor, size_px: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw one view of every image.

    No antialiasing: meant for views no smaller than about half of their crop.

    Args:
        images: shape (n, h, w, 3), uint8.
        size_px: side of the views, in pixels.
        how: the ranges to draw from.
        generator: a CPU generator; the same state gives the same views on every device.
    Returns:
        shape (n, 3, size_px, size_px), float32 in [0, 1], channels-last, on the device of `images`.
    """
    x = images.permute(0, 3, 1, 2).float().div_(255)
    theta = _affine(len(x), how, generator).to(x.device)
    grid = functional.affine_grid(theta, [len(x), 3, size_px, size_px], align_corners=False)
    views = functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _recolour(views, how, generator).contiguous(memory_format=torch.channels_last)


def _affine(n: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Maps from view to image coordinates, both in [-1, 1]; shape (n, 2, 3)."""
    area = _uniform(n, how.min_area, 1.0, generator)
    stretch = torch.exp(_uniform(n, -math.log(how.max_stretch), math.log(how.max_stretch), generator))
    width = (area * stretch).sqrt().clamp(max=1.0)
    height = (area / stretch).sqrt().clamp(max=1.0)
    shift_x = _uniform(n, -1.0, 1.0, generator) * (1 - width)
    shift_y = _uniform(n, -1.0, 1.0, generator) * (1 - height)
    angle = _uniform(n, -how.max_angle, how.max_angle, generator) * math.pi / 180
    turns = torch.randint(0, 4, (n,), generator=generator) * how.quarter_turns
    cos, sin = torch.cos(angle + turns * math.pi / 2), torch.sin(angle + turns * math.pi / 2)
    width = width * _signs(n, how.flip_horizontal, generator)
    height = height * _signs(n, how.flip_vertical, generator)
    top = torch.stack([width * cos, -width * sin, shift_x], dim=1)
    bottom = torch.stack([height * sin, height * cos, shift_y], dim=1)
    return torch.stack([top, bottom], dim=1)


def _recolour(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    n = len(x)
    luma = (x * torch.tensor(GREY_WEIGHTS, device=x.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    colourful = _around_one(n, how.saturation, generator)
    colourful = colourful * (torch.rand(n, generator=generator) >= how.grey)
    x = luma + (x - luma) * colourful.view(n, 1, 1, 1).to(x.device)
    mean = luma.mean(dim=(2, 3), keepdim=True)
    x = mean + (x - mean) * _around_one(n, how.contrast, generator).view(n, 1, 1, 1).to(x.device)
    return (x * _around_one(n, how.brightness, generator).view(n, 1, 1, 1).to(x.device)).clamp_(0, 1)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _around_one(n: int, spread: float, generator: torch.Generator) -> Tensor:
    return _uniform(n, 1 - spread, 1 + spread, generator)


def _signs(n: int, wanted: bool, generator: torch.Generator) -> Tensor:
    return 1.0 - 2.0 * (torch.randint(0, 2, (n,), generator=generator) * wanted)
