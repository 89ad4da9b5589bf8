"""Random views of a batch of images, drawn from an explicit generator: an affine warp, then light and colour."""

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from stages.graft.core.params import Params

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Luma of ITU-R BT.601, as Pillow's conversion to grey."""


MAX_STRETCH = 4 / 3
"""Largest change of the aspect ratio of a crop."""


class ViewParams(Params):
    """How far a view may differ from its image."""

    min_area: float = Field(gt=0, le=1)
    """Smallest part of the image that a crop keeps; 1 keeps the whole image."""
    max_angle: float = Field(ge=0, le=180)
    """Largest rotation either way, in degrees."""
    colour: float = Field(ge=0, lt=1)
    """Light, contrast (distance from the mean) and saturation (distance from grey) change by up to this part."""
    grey: float = Field(ge=0, le=1)
    """Probability of a view without colour."""


def augment(images: Tensor, size_px: int, params: ViewParams, generator: torch.Generator) -> Tensor:
    """Draw one view of every image; half of the views are mirrored left to right.

    No antialiasing: meant for views no smaller than about half of their crop.

    Args:
        images: shape (n, h, w, 3), uint8.
        size_px: side of the views, in pixels.
        params: the ranges to draw from.
        generator: a CPU generator; the same state gives the same views on every device.
    Returns:
        shape (n, 3, size_px, size_px), float32 in [0, 1], channels-last, on the device of `images`.
    """
    x = images.permute(0, 3, 1, 2).float().div_(255)
    theta = _affine(len(x), params, generator).to(x.device)
    grid = functional.affine_grid(theta, [len(x), 3, size_px, size_px], align_corners=False)
    views = functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _recolour(views, params, generator).contiguous(memory_format=torch.channels_last)


def _affine(n: int, params: ViewParams, generator: torch.Generator) -> Tensor:
    """Draw maps from view to image coordinates, both in [-1, 1]; shape (n, 2, 3)."""
    area = _uniform(n, params.min_area, 1.0, generator)
    stretch = torch.exp(_uniform(n, -math.log(MAX_STRETCH), math.log(MAX_STRETCH), generator))
    width = (area * stretch).sqrt().clamp(max=1.0)
    height = (area / stretch).sqrt().clamp(max=1.0)
    shift_x = _uniform(n, -1.0, 1.0, generator) * (1 - width)
    shift_y = _uniform(n, -1.0, 1.0, generator) * (1 - height)
    angle = _uniform(n, -params.max_angle, params.max_angle, generator) * math.pi / 180
    # Draws without use: the bundled network was trained when quarter turns and vertical flips were drawn here, too.
    torch.randint(0, 4, (n,), generator=generator)
    cos, sin = torch.cos(angle), torch.sin(angle)
    width = width * (1.0 - 2.0 * torch.randint(0, 2, (n,), generator=generator))
    torch.randint(0, 2, (n,), generator=generator)
    top = torch.stack([width * cos, -width * sin, shift_x], dim=1)
    bottom = torch.stack([height * sin, height * cos, shift_y], dim=1)
    return torch.stack([top, bottom], dim=1)


def _recolour(x: Tensor, params: ViewParams, generator: torch.Generator) -> Tensor:
    """Change saturation, contrast and light of every image."""
    low, high = 1 - params.colour, 1 + params.colour
    luma = (x * torch.tensor(GREY_WEIGHTS, device=x.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    saturation = _uniform(len(x), low, high, generator)
    saturation = saturation * (torch.rand(len(x), generator=generator) >= params.grey)
    contrast, light = (_uniform(len(x), low, high, generator) for _ in range(2))
    saturation, contrast, light = (factor.view(-1, 1, 1, 1).to(x.device) for factor in (saturation, contrast, light))
    x = luma + (x - luma) * saturation
    mean = luma.mean(dim=(2, 3), keepdim=True)
    return ((mean + (x - mean) * contrast) * light).clamp_(0, 1)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)
