"""Generated strips, such as belts or pipes: what tells the classes apart lies outside the middle square."""

from pathlib import Path

import cv2
import numpy as np

WIDTH_PX, HEIGHT_PX, MARGIN_PX = 400, 64, 15
"""Size of a strip, and the least distance of a scratch from its ends and from the middle square, in pixels."""

PER_CLASS = 100


def write_strips(folder: Path) -> None:
    """Write a class folder of PNG files: noise that is good, and noise with one dark scratch left or right."""
    rng = np.random.default_rng(0)
    middle = (WIDTH_PX - HEIGHT_PX) // 2  # where the middle square begins
    for label in ("good", "scratch"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(PER_CLASS):
            strip = rng.normal(128, 12, (HEIGHT_PX, WIDTH_PX)).clip(0, 255).astype(np.uint8)
            left = int(rng.integers(MARGIN_PX, middle - MARGIN_PX)) + int(rng.integers(2)) * (middle + HEIGHT_PX)
            if label == "scratch":
                cv2.line(strip, (left, 5), (left + 10, HEIGHT_PX - 6), 10, thickness=4)
            cv2.imwrite(str(folder / label / f"{number}.png"), strip)
