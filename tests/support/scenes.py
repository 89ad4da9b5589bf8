"""Drawn scenes with many corners, each different, for tests of near-duplicates."""

import cv2
import numpy as np


def scene(seed, width=240, height=200):
    """A scene, shape (height, width, 3), uint8: dark and bright boxes and discs on a grey ground."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.uint8)
    for _ in range(60):
        x, y = rng.integers(0, width), rng.integers(0, height)
        size, shade = int(rng.integers(4, 22)), rng.integers(0, 256, 3).tolist()
        if rng.integers(2):
            cv2.rectangle(picture, (x, y), (x + size, y + size // 2), shade, -1)
        else:
            cv2.circle(picture, (x, y), size // 2, shade, -1)
    return picture


def png_of(picture):
    """The bytes of a picture as a PNG file."""
    return cv2.imencode(".png", picture)[1].tobytes()
