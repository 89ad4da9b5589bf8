"""A sound metal plate: its finish, its dirt and the lamp above it, the same for every class."""

from dataclasses import dataclass

import numpy as np

from stages.graft.data.synthetic.textures import Canvas, Direction, Field, bump, soft_step, wander


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The metal something is drawn on, and what decides how."""

    canvas: Canvas
    """The picture's pixels."""
    rng: np.random.Generator
    """Every random choice comes from here, in a fixed order."""
    rolling: Direction
    """The direction the metal was rolled and brushed in."""
    scale: float
    """Multiplies a defect's lengths."""

    def place(self, margin: float) -> tuple[float, float]:
        """A random point, at least `margin` inside and rather near the centre: cameras are pointed at defects."""
        x, y = self.rng.uniform(-1, 1, (2, 2)).sum(axis=0) * ((100 - margin) / 2)
        return float(x), float(y)

    def sign(self, dark: float) -> float:
        """-1 with probability `dark`, else 1."""
        return -1.0 if self.rng.random() < dark else 1.0


def random_rolling(rng: np.random.Generator) -> Direction:
    """A rolling direction: for half the plates about along an edge of the picture, else any."""
    upright, askew, free = 90 * float(rng.integers(0, 2)), rng.uniform(-12, 12), rng.uniform(0, 180)
    return Direction.at(upright + askew if rng.random() < 0.5 else free)


def finish(sheet: Sheet) -> Field:
    """Streaks along the rolling direction, grain, broad bands; about 0."""
    canvas, rng, rolling = sheet.canvas, sheet.rng, sheet.rolling
    length = 4 * 30 ** rng.random()
    streaks = canvas.spectrum(length, rng.uniform(0.4, 1.2), rolling, rng.uniform(0.1, 1))
    grain = canvas.spectrum(1.5, rng.uniform(0.5, 1.2), rolling, rng.uniform(0.2, 0.8))
    bands = wander(rng, canvas.rotated(rolling)[1], rng.uniform(10, 40)) * rng.uniform(0, 0.06)
    return canvas.noise(rng, streaks, grain) * rng.uniform(0.03, 0.08) + bands


def dirt(sheet: Sheet) -> Field:
    """Faint stains with a dried edge, oil, a field of fine scuffs, dust; about 0."""
    canvas, rng = sheet.canvas, sheet.rng
    cloud = canvas.noise(rng, canvas.spectrum(22, 22), canvas.spectrum(4, 4, weight=0.15))
    inland = cloud - rng.uniform(0.8, 2)
    stain = soft_step(inland, 0.5) + 0.5 * bump((inland / 0.12) ** 2)
    oil = soft_step(-cloud - rng.uniform(0.8, 2), 1.2)
    towards = Direction.random(rng)
    along, across = canvas.rotated(towards, sheet.place(0))
    scuffs = canvas.noise(rng, canvas.spectrum(20, 0.6, towards)) * bump((along / 50) ** 2 + (across / 25) ** 2)
    dust = rng.random(cloud.shape) < DUST_SHARE
    marks = rng.uniform(-0.1, 0.1) * stain + rng.uniform(-0.12, 0.02) * oil + rng.uniform(-0.08, 0.08) * scuffs
    return marks - rng.uniform(0, 0.3) * dust


DUST_SHARE = 2e-4
"""Part of the pixels that hold a speck of dust."""


def lamp(sheet: Sheet) -> Field:
    """Uneven light: a slope across the picture, a highlight, and the lens's dark corners; about 1."""
    canvas, rng = sheet.canvas, sheet.rng
    along, across = canvas.rotated(Direction.random(rng), sheet.place(0))
    highlight = bump((along / rng.uniform(60, 150)) ** 2 + (across / rng.uniform(60, 250)) ** 2)
    slope = canvas.rotated(Direction.random(rng))[0] * rng.uniform(0, 0.0025)
    corners = (canvas.x**2 + canvas.y**2) * (rng.uniform(0, 0.25) / 2e4)
    return (1 + slope) * (0.9 + rng.uniform(0, 0.5) * highlight) * (1 - corners)
