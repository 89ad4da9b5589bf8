"""Fields a picture of metal is made of: oriented noise, scattered cells, soft edges, light on a relief.

Lengths are in units of 1/200 of the image's side, so that a larger image shows the same things. A field has shape
(size_px, size_px) or broadcasts to it. All arithmetic is float64, on one thread and free of BLAS: one machine always
gives the same bits, and others differ in the last of 53 at most (Fourier transform, sums, sine), which is too little to
move a pixel of 8 bits but once in some hundred thousand plates.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float64]

SIDE = 200.0
"""Side of every image in its own units."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A unit vector in the image plane, x to the right, y down."""

    x: float
    y: float

    @classmethod
    def at(cls, degrees: float) -> "Direction":
        """The direction at an angle to the x axis."""
        return cls(x=math.cos(math.radians(degrees)), y=math.sin(math.radians(degrees)))

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Direction":
        """Any direction, all equally likely."""
        return cls.at(rng.uniform(0, 360))

    def turned(self, degrees: float) -> "Direction":
        """This direction, turned by an angle."""
        other = Direction.at(degrees)
        return Direction(x=self.x * other.x - self.y * other.y, y=self.x * other.y + self.y * other.x)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """The pixel grid of a square image."""

    size_px: int
    """Side, in pixels."""

    @cached_property
    def x(self) -> Field:
        """Distance right of the centre, shape (1, size_px)."""
        half_px = (self.size_px - 1) / 2
        return np.linspace(-half_px, half_px, self.size_px)[None, :] * (SIDE / self.size_px)

    @cached_property
    def y(self) -> Field:
        """Distance below the centre, shape (size_px, 1)."""
        return self.x.T

    def zeros(self) -> Field:
        """An empty field."""
        return np.zeros((self.size_px, self.size_px))

    def rotated(self, direction: Direction, centre: tuple[float, float] = (0.0, 0.0)) -> tuple[Field, Field]:
        """Coordinates along and across a direction, from a centre."""
        x, y = self.x - centre[0], self.y - centre[1]
        return x * direction.x + y * direction.y, y * direction.x - x * direction.y

    def noise(self, rng: np.random.Generator, *spectra: Field) -> Field:
        """Noise of mean 0 and standard deviation 1 with the sum of the given amplitude spectra."""
        amplitude = np.sum(spectra, axis=0)
        white = rng.random((*amplitude.shape, 2)).view(np.complex128)[..., 0] - (0.5 + 0.5j)
        field = np.fft.irfft2(white * amplitude, s=(self.size_px, self.size_px))
        normal: Field = (field - field.mean()) / field.std()
        return normal

    def spectrum(self, along: float, across: float, direction: Direction | None = None, weight: float = 1.0) -> Field:
        """Amplitude spectrum of noise with correlation lengths along and across a direction.

        Noise of one spectrum has standard deviation 1; where several are added, `weight` is each one's share.
        """
        fx, fy = _frequencies(self.size_px)
        towards = direction or Direction(x=1.0, y=0.0)
        u, v = fx * towards.x + fy * towards.y, fy * towards.x - fx * towards.y
        amplitude = 1 / (1 + (2 * math.pi * along * u) ** 2 + (2 * math.pi * across * v) ** 2)
        amplitude[0, 0] = 0
        return amplitude * (weight / math.sqrt(float((amplitude * amplitude).mean())))


@lru_cache(maxsize=2)
def _frequencies(size_px: int) -> tuple[Field, Field]:
    """Cycles per unit of length, of the transform's columns and rows."""
    rows = np.asarray(np.fft.fftfreq(size_px, SIDE / size_px), dtype=np.float64)
    columns = np.asarray(np.fft.rfftfreq(size_px, SIDE / size_px), dtype=np.float64)
    return columns[None, :], rows[:, None]


def soft_step(value: Field, width: float) -> Field:
    """0 below -width/2, 1 above width/2, smooth between."""
    t = np.clip(value / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def bump(distance_squared: Field) -> Field:
    """A round hill: 1 at distance 0, half at about 0.64, towards 0 outside."""
    return 1 / (1 + distance_squared) ** 2


def wander(rng: np.random.Generator, position: Field, wavelength: float) -> Field:
    """A random broken line over one coordinate, with knots every `wavelength` and values in [-1, 1]."""
    knots = np.arange(-1.5 * SIDE, 1.5 * SIDE, wavelength)
    return np.interp(position, knots, rng.uniform(-1, 1, knots.size))


def cells(rng: np.random.Generator, u: Field, v: Field) -> tuple[Field, Field, Field]:
    """Scatter one point in each unit square of the (u, v) plane and look from every pixel.

    Args:
        rng: gives the points.     u, v: each pixel's place in the plane; it repeats itself after 64 squares.
    Returns:
        The distance to the nearest point, to the second nearest, and a random number in [0, 1) owned by the nearest.
    Source:
        Worley, A cellular texture basis function, SIGGRAPH 1996.
    """
    points = rng.random((3, 64 * 64))
    column, row = np.floor(u), np.floor(v)
    du, dv = u - column, v - row
    column, row = column.astype(np.int64), row.astype(np.int64)
    nearest, second, owned = np.full(u.shape, np.inf), np.full(u.shape, np.inf), np.zeros(u.shape)
    for i, j in product((-1, 0, 1), repeat=2):
        at = ((row + i & 63) << 6) + (column + j & 63)
        distance = (points[0][at] + (j - du)) ** 2 + (points[1][at] + (i - dv)) ** 2
        second = np.minimum(second, np.maximum(nearest, distance))
        owned = np.where(distance < nearest, points[2][at], owned)
        nearest = np.minimum(nearest, distance)
    return np.sqrt(nearest), np.sqrt(second), owned


def lit(relief: Field, light: Direction) -> Field:
    """Slope of a relief towards the light: positive where it faces the light."""
    down, right = np.gradient(relief, SIDE / relief.shape[0])
    return np.asarray(-(right * light.x + down * light.y), dtype=np.float64)
