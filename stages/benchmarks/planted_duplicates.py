"""Near-duplicates planted in a set of images: copies changed in known ways, to count how many are found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""Shape (h, w, 3), uint8."""
Rng = np.random.Generator
Change = Callable[[Picture, Rng], Picture]

MAX_SHIFT = 0.1
"""Of the surface between two photographs, as a share of the side."""

PER_KIND = 22
"""Plants of each kind alone; the others have two kinds."""


@dataclass(frozen=True, kw_only=True)
class Plant:
    """An image and its near-duplicate, as PNG files."""

    kind: str
    """What was done; two kinds are joined by a plus."""
    source: int
    """Number of the image that it was made from."""
    original: bytes
    """The image itself; of a shift, a part of it."""
    copy: bytes
    """The near-duplicate, a JPEG file of quality 95 before it became PNG."""


def as_jpeg(picture: Picture, quality: int) -> Picture:
    """Save as JPEG, and read again."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def scale(picture: Picture, rng: Rng, low: float = 0.6, high: float = 1.6) -> Picture:
    """Another size."""
    factor = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=interpolation).astype(np.uint8)


def crop(picture: Picture, rng: Rng, least: float = 0.85, most: float = 1.0) -> Picture:
    """Keep a part of each side."""
    height, width = (round(side * rng.uniform(least, most)) for side in picture.shape[:2])
    top, left = rng.integers(0, picture.shape[0] - height + 1), rng.integers(0, picture.shape[1] - width + 1)
    return picture[top : top + height, left : left + width]


def light(picture: Picture, rng: Rng, most: float = 0.3) -> Picture:
    """Another contrast and brightness."""
    contrast, brightness = 1 + rng.uniform(-most, most), 128 * rng.uniform(-most, most)
    return _grey_values((picture.astype(np.float32) - 128) * contrast + 128 + brightness)


def gamma(picture: Picture, rng: Rng) -> Picture:
    """Another gamma."""
    exponent = np.exp(rng.uniform(np.log(0.7), np.log(1.4)))
    return _grey_values(255 * (picture / np.float32(255)) ** exponent)


def blur(picture: Picture, sigma_px: float) -> Picture:
    """Blur by a Gaussian."""
    return cv2.GaussianBlur(picture, (0, 0), sigma_px).astype(np.uint8)


def noise(picture: Picture, rng: Rng, deviation: float) -> Picture:
    """Add grey noise."""
    return _grey_values(picture + rng.normal(0, deviation, picture.shape[:2])[..., None])


def turn(picture: Picture, degrees: float) -> Picture:
    """Turn by a few degrees; the border is mirrored."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


def caption(picture: Picture, rng: Rng) -> Picture:
    """A white bar with text over the lowest part."""
    height, width = picture.shape[:2]
    labelled = picture.copy()
    labelled[int(height * 0.85) :] = 255
    place, size = (5, int(height * 0.95)), width / 250
    cv2.putText(labelled, f"SAMPLE {rng.integers(100)}", place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 2)
    return labelled


KINDS: dict[str, Change] = {
    "jpeg": lambda picture, rng: as_jpeg(picture, int(rng.integers(60, 96))),
    "scale": scale,
    "crop": crop,
    "light": light,
    "gamma": gamma,
    "blur": lambda picture, rng: blur(picture, rng.uniform(0.5, 1.3)),
    "flip": lambda picture, rng: picture[::-1] if rng.integers(2) else picture[:, ::-1],
    "quarter turn": lambda picture, rng: np.rot90(picture, int(rng.integers(1, 4))),
    "shift": lambda picture, rng: picture,  # made from two parts of the image: see `plant`
}
"""What must be found."""

HARD: dict[str, Change] = {
    "jpeg 20": lambda picture, rng: as_jpeg(picture, 20),
    "scale 0.4": lambda picture, rng: scale(picture, rng, 0.4, 0.4),
    "scale 0.25": lambda picture, rng: scale(picture, rng, 0.25, 0.25),
    "crop to 70%": lambda picture, rng: crop(picture, rng, 0.7, 0.7),
    "crop to 50%": lambda picture, rng: crop(picture, rng, 0.5, 0.5),
    "turn by 5 degrees": lambda picture, rng: turn(picture, 5),
    "turn by 15 degrees": lambda picture, rng: turn(picture, 15),
    "noise of 8": lambda picture, rng: noise(picture, rng, 8),
    "noise of 20": lambda picture, rng: noise(picture, rng, 20),
    "blur of 2 px": lambda picture, rng: blur(picture, 2),
    "blur of 3.5 px": lambda picture, rng: blur(picture, 3.5),
    "contrast and brightness by 60%": lambda picture, rng: light(picture, rng, 0.6),
    "caption bar": caption,
}
"""What may be missed: the table of limits."""


def plant_kinds(num_plants: int, rng: Rng) -> list[tuple[str, ...]]:
    """List the kinds of the plants: PER_KIND of each alone, then two different ones together."""
    kinds = list(KINDS)
    alone = [(kind,) for kind in kinds for _ in range(PER_KIND)][:num_plants]
    both = [tuple(str(kind) for kind in rng.choice(kinds, 2, replace=False)) for _ in range(num_plants - len(alone))]
    return [*alone, *both]


def plant_all(pictures: Sequence[Picture], num_plants: int, seed: int) -> list[Plant]:
    """Plant near-duplicates of different images.

    Args:
        pictures: the set.
        num_plants: at most as many as there are pictures.
        seed: another seed, other plants.
    """
    rng = np.random.default_rng(seed)
    sources = rng.permutation(len(pictures))[:num_plants].tolist()
    return [plant(pictures[k], k, kinds, rng) for k, kinds in zip(sources, plant_kinds(num_plants, rng), strict=True)]


def plant(picture: Picture, source: int, kinds: Sequence[str], rng: Rng, changes: dict[str, Change] = KINDS) -> Plant:
    """Plant one near-duplicate; a shift gives two overlapping parts of the image."""
    original, copy = _parts(picture, rng) if "shift" in kinds else (picture, picture)
    for kind in kinds:
        copy = np.ascontiguousarray(changes[kind](copy, rng))
    copy = copy if kinds == ("jpeg 20",) else as_jpeg(copy, 95)
    return Plant(kind=" + ".join(kinds), source=source, original=as_png(original), copy=as_png(copy))


def as_png(picture: Picture) -> bytes:
    """Encode a picture as a PNG file."""
    return cv2.imencode(".png", picture)[1].tobytes()


def _parts(picture: Picture, rng: Rng) -> tuple[Picture, Picture]:
    """Two parts of an image, shifted by at most MAX_SHIFT of its sides."""
    height, width = picture.shape[:2]
    down, right = (round(side * rng.uniform(-MAX_SHIFT, MAX_SHIFT)) for side in (height, width))
    size = height - abs(down), width - abs(right)

    def part(top: int, left: int) -> Picture:
        return np.ascontiguousarray(picture[top : top + size[0], left : left + size[1]])

    return part(max(0, -down), max(0, -right)), part(max(0, down), max(0, right))


def _grey_values(values: npt.NDArray[np.floating]) -> Picture:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
