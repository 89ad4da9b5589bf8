"""Image files of random textures, as many as a benchmark needs, all of them different: each class has its own grain."""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

NUM_CLASSES = 10

PER_BATCH = 64
"""Images made at once."""

NOISE = 0.6
"""Share of the standard deviation that has no grain: with it, some images of neighbouring classes look alike."""


def write_textures(folder: Path, numbers: range, size_px: int) -> None:
    """Write a class folder of JPEG files, RGB; a number always gives the same file.

    Args:
        folder: the class folder; files that are in it stay.
        numbers: of the images; the class of an image is its number modulo NUM_CLASSES.
        size_px: side of the images.
    """
    for label in range(NUM_CLASSES):
        (folder / f"grain{label}").mkdir(parents=True, exist_ok=True)
    for number, pixels in _textures(numbers, size_px):
        ok, data = cv2.imencode(".jpg", np.repeat(pixels[:, :, None], 3, axis=2))
        if not ok:
            raise RuntimeError("OpenCV cannot write JPEG")
        (folder / f"grain{number % NUM_CLASSES}" / f"{number:06}.jpg").write_bytes(data.tobytes())


def _textures(numbers: range, size_px: int) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    grains = np.stack([_grain(label, size_px) for label in range(NUM_CLASSES)])
    for start in range(0, len(numbers), PER_BATCH):
        batch = numbers[start : start + PER_BATCH]
        noise = np.stack([np.random.default_rng(number).standard_normal((size_px, size_px)) for number in batch])
        grain = np.fft.irfft2(
            np.fft.rfft2(noise) * grains[[number % NUM_CLASSES for number in batch]], s=noise.shape[1:]
        )
        grain /= grain.std(axis=(1, 2), keepdims=True)
        mixed = math.sqrt(1 - NOISE**2) * grain + NOISE * np.roll(noise, size_px // 2, axis=1)
        yield from zip(batch, (128 + 40 * mixed).clip(0, 255).astype(np.uint8), strict=True)


def _grain(label: int, size_px: int) -> npt.NDArray[np.float64]:
    """Give the amplitude of each frequency of a class, shape (size_px, size_px // 2 + 1): a line in some direction."""
    down, right = np.meshgrid(np.fft.fftfreq(size_px), np.fft.rfftfreq(size_px), indexing="ij")
    angle = math.pi * label / NUM_CLASSES
    along, across = down * math.cos(angle) + right * math.sin(angle), right * math.cos(angle) - down * math.sin(angle)
    return np.asarray(np.exp(-((4 * along) ** 2) - (12 * across) ** 2))
