"""Classification that draws the heat map of every answer, and gives the box that it suggests."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from stages.graft.core.threads import in_threads
from stages.graft.images.decode import decode
from stages.graft.model.heat_map import Trust
from stages.graft.model.heat_picture import box_of, draw_heat
from stages.graft.model.predictor import Explained, ImageFile, Predictor

BOX = ("box_left", "box_top", "box_right", "box_bottom")
"""Columns of the estimated box, in pixels of the upright image; right and bottom are the first ones outside."""

MAP = "map"
"""Column of the picture's name in the folder."""

MAX_STEM = 80
"""Letters of an image's name in the name of its picture, at most."""


class HeatMapWriter:
    """Classifies image files as `Predictor` does, and draws heat maps into a folder."""

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        """Make the folder, if need be, and say on stderr when the heat maps of this model cannot be trusted."""
        folder.mkdir(parents=True, exist_ok=True)
        self._predictor, self._folder = predictor, folder
        self.columns = [*predictor.columns[:-1], *BOX, MAP, predictor.columns[-1]]
        if (warning := warning_of(predictor.trust)) is not None:
            print(f"predict: {warning}", file=sys.stderr)

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """Classify images as `Predictor.predict`; a row has the columns BOX and MAP too."""
        files, again = tee(files)
        yield from in_threads(self._draw, enumerate(zip(again, self._predictor.explain(files), strict=True)))

    def _draw(self, numbered: tuple[int, tuple[ImageFile, Explained]]) -> dict[str, Any]:
        number, (file, found) = numbered
        if found.heat is None:
            return dict.fromkeys(self.columns) | found.row
        p = self._predictor.preprocessing
        pixels = np.asarray(decode(file.read(), p.white_level, self._predictor.max_pixels))
        name = f"{number:05}_{Path(file.name).stem[:MAX_STEM]}.png"
        draw_heat(pixels, found.heat, p).save(self._folder / name)
        box = box_of(found.heat, pixels.shape[1], pixels.shape[0], p)
        return found.row | {f"box_{edge}": value for edge, value in asdict(box).items()} | {MAP: name}


def warning_of(trust: Trust) -> str | None:
    """Say why heat maps should not be relied on; None when they can be."""
    if trust.is_trusted:
        return None
    if not trust.num_images:
        return "it was not measured whether the heat maps of this model can be trusted"
    return (
        f"do not rely on the heat maps of this model: on {trust.num_images} validation images, only {trust.num_better} "
        "were better than the heat map of another image"
    )
