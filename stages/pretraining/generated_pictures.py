"""Generated pictures of many kinds: noise, stripes, checks, script, wood, bricks, …, each grey or in colours.

The kinds of local features by which near-duplicates are looked for are fitted to them.
"""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.graft.core.threads import in_threads
from stages.graft.data.synthetic.textures import Canvas, Direction, Field, bump, cells

Rng = np.random.Generator


def picture_files(number: int, size_px: int, seed: int) -> list[bytes]:
    """Draw pictures, the kinds in turn, as the bytes of PNG files; each depends on the seed and its number alone."""
    canvas, kinds = Canvas(size_px=size_px), list(KINDS.values())

    def file(k: int) -> bytes:
        rng = np.random.default_rng((seed, k))
        return _png(_paint(kinds[k % len(kinds)](canvas, rng), rng, coloured=k // len(kinds) % 2 == 1))

    return list(in_threads(file, range(number)))


def _uniform_noise(canvas: Canvas, rng: Rng) -> Field:
    return rng.random((canvas.size_px, canvas.size_px))


def _cloud_noise(canvas: Canvas, rng: Rng) -> Field:
    """Noise whose amplitude falls as one over the frequency, as in pictures of nature."""
    return canvas.noise(rng, canvas.spectrum(60, 60))


def _stripes(canvas: Canvas, rng: Rng) -> Field:
    along, _ = canvas.rotated(Direction.random(rng))
    return np.sin(along * rng.uniform(0.1, 1.2)) * rng.uniform(0.5, 8)


def _checks(canvas: Canvas, rng: Rng) -> Field:
    u, v = canvas.rotated(Direction.random(rng))
    return (np.floor(u / rng.uniform(6, 40)) + np.floor(v / rng.uniform(6, 40))) % 2


def _gradient(canvas: Canvas, rng: Rng) -> Field:
    u, v = canvas.rotated(Direction.random(rng))
    return u + rng.uniform(0, 0.01) * v**2


def _flat(canvas: Canvas, rng: Rng) -> Field:
    return canvas.zeros()


def _discs(canvas: Canvas, rng: Rng) -> Field:
    centres = rng.uniform(-100, 100, (12, 2))
    discs = [((canvas.x - x) ** 2 + (canvas.y - y) ** 2 < rng.uniform(8, 30) ** 2) * rng.random() for x, y in centres]
    return np.asarray(np.max(discs, axis=0), dtype=np.float64)


def _blobs(canvas: Canvas, rng: Rng) -> Field:
    centres = rng.uniform(-100, 100, (6, 2))
    hills = [bump(((canvas.x - x) ** 2 + (canvas.y - y) ** 2) / rng.uniform(300, 3000)) for x, y in centres]
    return np.asarray(np.sum(hills, axis=0), dtype=np.float64)


def _script(canvas: Canvas, rng: Rng) -> Field:
    """Lines of signs, each a few strokes on a grid of 4 by 6, as a page of text looks from afar."""
    step = rng.uniform(1.5, 3.5)
    column, row = np.floor((canvas.x + 100) / step).astype(int), np.floor((canvas.y + 100) / step).astype(int)
    ink = rng.random((256, 256)) < 0.55
    return np.asarray(ink[row, column] & (column % 5 < 4) & (row % 9 < 6), dtype=np.float64)


def _wood(canvas: Canvas, rng: Rng) -> Field:
    u, v = canvas.rotated(Direction.random(rng), (rng.uniform(-150, 150), rng.uniform(-150, 150)))
    distance = np.sqrt((u / 6) ** 2 + v**2) + 4 * canvas.noise(rng, canvas.spectrum(30, 30))
    return distance / rng.uniform(5, 15) % 1


def _bricks(canvas: Canvas, rng: Rng) -> Field:
    height = rng.uniform(12, 30)
    row = np.floor(canvas.y / height)
    u, v = (canvas.x / height / 2 + row % 2 / 2) % 1, canvas.y / height % 1
    shade = 0.6 + 0.4 * rng.random((64, 64))[(row % 64).astype(int), (np.floor(canvas.x / height / 2) % 64).astype(int)]
    return np.where((u > 0.06) & (v > 0.12), shade, 0) + 0.05 * canvas.noise(rng, canvas.spectrum(1, 1))


def _cobbles(canvas: Canvas, rng: Rng) -> Field:
    size = rng.uniform(10, 30)
    nearest, second, owned = cells(rng, *np.broadcast_arrays(canvas.x / size, canvas.y / size))
    return np.minimum(second - nearest, 0.3) * (1 + owned)


KINDS: dict[str, Callable[[Canvas, Rng], Field]] = {
    "uniform noise": _uniform_noise,
    "cloud noise": _cloud_noise,
    "stripes": _stripes,
    "checks": _checks,
    "gradient": _gradient,
    "flat": _flat,
    "discs": _discs,
    "blobs": _blobs,
    "script": _script,
    "wood": _wood,
    "bricks": _bricks,
    "cobbles": _cobbles,
}
"""What there is to see, and how it is drawn: a field of shape (size_px, size_px), in any units."""


def _paint(field: Field, rng: Rng, coloured: bool) -> npt.NDArray[np.uint8]:
    """Stretch a field between two random colours, or two greys at least a third of the scale apart."""
    low, high = field.min(), field.max()
    share = (field - low) / (high - low) if high > low else np.full(field.shape, rng.random())
    dark, light = (
        rng.random((2, 3)) if coloured else np.repeat([[rng.uniform(0, 1 / 3)], [rng.uniform(2 / 3, 1)]], 3, 1)
    )
    pixels = dark + share[..., None] * (light - dark)
    return np.asarray(np.rint(255 * pixels), dtype=np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
