"""What can be wrong with a metal plate: six defects, each drawn at a random place, size, angle and count."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.graft.data.synthetic.surfaces import Sheet
from stages.graft.data.synthetic.textures import Canvas, Direction, Field, bump, cells, soft_step, wander


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What a defect does to the plate; every field has shape (size_px, size_px)."""

    tone: Field
    """Change of brightness, about -1 to 1; the plate's contrast scales it."""
    cover: Field
    """How far the plate's own texture is gone, 0 to 1."""
    relief: Field
    """Height, in the unit that turns a slope of one pixel into full light or shadow; contrast scales it too."""


def crazing(sheet: Sheet) -> Defect:
    """A net of fine cracks over a part of the plate."""
    rng, canvas = sheet.rng, sheet.canvas
    spacing = rng.uniform(13, 24) * sheet.scale
    stretch = rng.uniform(1, 1.8)
    rough = canvas.noise(rng, canvas.spectrum(7, 7), canvas.spectrum(2, 2, weight=0.5))
    along, across = canvas.rotated(sheet.rolling.turned(90), sheet.place(0))
    nearest, second, _ = cells(rng, (along + 1.3 * rough) / (spacing * stretch), (across - 1.3 * rough) / spacing)
    width = rng.uniform(1.6, 2.6) / spacing
    crack = bump(((second - nearest) / width) ** 2)
    along, across = canvas.rotated(Direction.random(rng), sheet.place(45))
    reach = rng.uniform(75, 130)
    region = soft_step(1 - np.sqrt((along / reach) ** 2 + (across / (0.7 * reach)) ** 2) + 0.15 * rough, 0.5)
    broken = np.clip(0.75 + 0.35 * rough, 0, 1)
    crack = crack * region * broken
    return Defect(tone=1.2 * sheet.sign(dark=0.8) * crack, cover=crack * 0.5, relief=-0.8 * crack)


def hole(sheet: Sheet) -> Defect:
    """One or two openings: a crisp edge, the plate's thickness on one side, a burr, and no surface inside."""
    rng, canvas = sheet.rng, sheet.canvas
    wobble = canvas.noise(rng, canvas.spectrum(8, 8)) * rng.uniform(0, 1.2)
    view, sign = Direction.random(rng), sheet.sign(dark=0.8)
    inside, ground, burr = canvas.zeros(), canvas.zeros(), canvas.zeros()
    for _ in range(rng.integers(1, 3)):
        radius, squeeze, towards = rng.uniform(8, 19) * sheet.scale, rng.uniform(1, 1.35), Direction.random(rng)
        x, y = sheet.place(30)
        wall = rng.uniform(0.1, 0.3) * radius
        distance = _ellipse(canvas, towards, (x, y), squeeze) + wobble
        deeper = _ellipse(canvas, towards, (x + wall * view.x, y + wall * view.y), squeeze) + wobble
        inside = np.maximum(inside, soft_step(radius - distance, 1.8))
        ground = np.maximum(ground, soft_step(radius - np.maximum(distance, deeper), 2.5))
        glow = max(sign, 0.0) * 0.3 * bump((np.maximum(distance - radius, 0) / 7) ** 2)
        burr = np.maximum(burr, bump(((distance - radius - 1.5) / 2.2) ** 2) + glow)
    tone = sign * (1.7 * ground + 0.15 * burr * (1 - ground)) + (inside - ground) * rng.uniform(-0.9, 0.2)
    return Defect(tone=tone, cover=inside, relief=1.1 * burr * (1 - 0.5 * ground))


def _ellipse(canvas: Canvas, towards: Direction, centre: tuple[float, float], squeeze: float) -> Field:
    along, across = canvas.rotated(towards, centre)
    return np.sqrt(along * along + (squeeze * across) ** 2)


def inclusion(sheet: Sheet) -> Defect:
    """Stringers of slivers of foreign matter, drawn out along the rolling direction."""
    rng, canvas = sheet.rng, sheet.canvas
    towards = sheet.rolling.turned(rng.uniform(-5, 5))
    along, across = canvas.rotated(towards)
    ragged = canvas.noise(rng, canvas.spectrum(6, 1.2, towards))
    length, width = rng.uniform(26, 46) * sheet.scale, rng.uniform(6.5, 10.5) * sheet.scale
    nearest, _, owned = cells(rng, along / length, (across + 4 * wander(rng, along, 30)) / width)
    blob = soft_step(0.1 + 0.42 * owned - nearest + 0.09 * ragged, 0.16) * (0.6 + 0.4 * ((owned * 7.0) % 1.0))
    bands = canvas.zeros()
    for _ in range(rng.integers(1, 4)):
        along, across = canvas.rotated(towards.turned(rng.uniform(-3, 3)), sheet.place(30))
        half = rng.uniform(9, 15) * sheet.scale
        band = soft_step(half - np.abs(across), 8) * soft_step(rng.uniform(45, 85) - np.abs(along), 20)
        bands = np.maximum(bands, band)
    slivers = blob * bands
    return Defect(
        tone=1.2 * sheet.sign(dark=0.85) * slivers * (1 + 0.15 * ragged), cover=0.8 * slivers, relief=0.4 * slivers
    )


def patch(sheet: Sheet) -> Defect:
    """One to three ragged areas of scale with a crusty inside that hides the surface."""
    rng, canvas = sheet.rng, sheet.canvas
    ragged = canvas.noise(rng, canvas.spectrum(16, 16), canvas.spectrum(2.5, 2.5, weight=0.45))
    crust = canvas.noise(rng, canvas.spectrum(1.6, 1.6), canvas.spectrum(5, 5))
    inside = canvas.zeros()
    for _ in range(rng.integers(1, 4)):
        along, across = canvas.rotated(sheet.rolling.turned(rng.uniform(-30, 30)), sheet.place(25))
        length = rng.uniform(22, 50) * sheet.scale
        width = length * rng.uniform(0.45, 0.8)
        outline = 1 - np.sqrt((along / length) ** 2 + (across / width) ** 2) + 0.35 * ragged
        inside = np.maximum(inside, soft_step(outline, 0.18))
    tone = sheet.sign(dark=0.8) * inside * (0.7 + 0.3 * np.clip(crust, -1.5, 1.5))
    return Defect(tone=tone, cover=0.85 * inside, relief=0.35 * inside * crust)


def pitting(sheet: Sheet) -> Defect:
    """Clusters of many small pits, uneven in size, depth and outline."""
    rng, canvas = sheet.rng, sheet.canvas
    spacing = rng.uniform(9, 15) * sheet.scale
    rough = canvas.noise(rng, canvas.spectrum(18, 18))
    ragged = canvas.noise(rng, canvas.spectrum(1.8, 1.8))
    along, across = canvas.rotated(Direction.random(rng), sheet.place(40))
    nearest, _, owned = cells(rng, along / spacing, across / spacing)
    depth = (owned * 7.0) % 1.0
    density = 1 - np.sqrt(along**2 + (1.4 * across) ** 2) / rng.uniform(55, 110) + 0.3 * rough
    present = soft_step(density + 0.3 - 0.6 * ((owned * 31.0) % 1.0), 0.1)
    radius = 0.1 + 0.28 * owned * owned
    pit = soft_step(radius - nearest + 0.045 * ragged, 0.2) * present * (0.55 + 0.45 * depth)
    return Defect(tone=sheet.sign(dark=0.9) * pit, cover=0.7 * pit, relief=-1.5 * pit)


def scratch(sheet: Sheet) -> Defect:
    """One to three thin lines, nearly straight, that rarely follow the rolling direction."""
    rng = sheet.rng
    towards, sign = Direction.random(rng), sheet.sign(dark=0.25)
    line, groove = sheet.canvas.zeros(), sheet.canvas.zeros()
    for _ in range(rng.integers(1, 4)):
        along, across = sheet.canvas.rotated(towards.turned(rng.uniform(-9, 9)), sheet.place(35))
        length = rng.uniform(40, 85) * sheet.scale
        width = rng.uniform(0.9, 2.0) * sheet.scale
        across = across - rng.uniform(-8e-4, 8e-4) * along * along - 0.6 * wander(rng, along, 9)
        ends = soft_step(length - np.abs(along), 0.5 * length)
        depth = ends * (0.7 + 0.3 * wander(rng, along, 6)) * rng.uniform(0.7, 1.2)
        line = np.maximum(line, depth * bump((across / width) ** 2))
        groove = np.maximum(groove, depth * bump((across / (2 * width)) ** 2))
    return Defect(tone=1.3 * sign * line, cover=line * 0.7, relief=-1.2 * groove)


DEFECTS: dict[str, Callable[[Sheet], Defect]] = {
    draw.__name__: draw for draw in (crazing, hole, inclusion, patch, pitting, scratch)
}
"""Class name to the function that draws it; a place in this order is part of a plate's seed."""
