"""The generated metal plates: brushed or rolled, unevenly lit, dirty, each with one of six kinds of defect."""

import struct
import zlib
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field as Range

from stages.graft.core.params import Params
from stages.graft.data.synthetic.defects import DEFECTS, Defect
from stages.graft.data.synthetic.surfaces import Sheet, dirt, finish, lamp, random_rolling
from stages.graft.data.synthetic.textures import Canvas, Direction, Field, lit

CLASSES = tuple(DEFECTS)


class PlatesSpec(Params):
    """A spec file such as data/plates.yaml: what to generate."""

    kind: Literal["plates"]
    """What the file describes; only `plates` exists."""
    per_class: Annotated[int, Range(ge=1)]
    """Plates of each of the six classes; more of them keep the ones there are."""
    size_px: Annotated[int, Range(ge=32)]
    """Side of the square images, in pixels; defects grow with it."""
    seed: Annotated[int, Range(ge=0)]
    """Another seed gives other plates of the same kind."""
    difficulty: Annotated[float, Range(ge=0, le=1)]
    """0 (easy) to 1 (very hard): defects fainter and smaller, plates noisier and dirtier."""

    @property
    def contrast(self) -> float:
        """Strength of the defects, against a plate's brightness of 1."""
        return 1.15 - 1.03 * self.difficulty

    @property
    def scale(self) -> float:
        """What multiplies the lengths of the defects."""
        return 1.7 - 0.85 * self.difficulty

    @property
    def clutter(self) -> float:
        """Strength of what all classes share: stains, oil, scuffs, dust, noise."""
        return 0.1 + 1.5 * self.difficulty


def num_plates(spec: PlatesSpec) -> int:
    """Count the plates of a spec."""
    return len(CLASSES) * spec.per_class


def plate(spec: PlatesSpec, index: int) -> tuple[str, str, bytes]:
    """Generate one plate from the spec's seed, size and difficulty and its own class and number alone.

    Args:
        spec: what to generate.     index: in [0, num_plates); classes take turns.
    Returns:
        Its file name, its label, and the bytes of a grey PNG file.
    """
    number, class_index = divmod(index, len(CLASSES))
    label = CLASSES[class_index]
    rng = np.random.default_rng([spec.seed, class_index, number])
    sheet = Sheet(canvas=Canvas(size_px=spec.size_px), rng=rng, rolling=random_rolling(rng), scale=spec.scale)
    pixels = photograph(sheet, DEFECTS[label](sheet), spec.contrast, spec.clutter)
    return f"{label}/{label}_{number + 1:03d}.png", label, encode_png(pixels)


def photograph(sheet: Sheet, defect: Defect, contrast: float, clutter: float) -> npt.NDArray[np.uint8]:
    """Light a sheet and its defect, and expose them on a noisy sensor; shape (size_px, size_px), uint8."""
    rng = sheet.rng
    surface = (finish(sheet) + clutter * dirt(sheet)) * (1 - defect.cover)
    mark = defect.tone + lit(defect.relief, Direction.random(rng))
    plate = np.maximum(1 + surface + contrast * rng.uniform(0.8, 1.3) * mark, DARKEST)
    image = defocus(rng.uniform(80, 150) * lamp(sheet) * plate, rng.uniform(0.05, 0.25))
    grain = rng.random((2, *image.shape)).sum(axis=0) - 1  # standard deviation 0.41
    image += grain * np.sqrt(image) * rng.uniform(0.4, 0.8) * (0.5 + clutter)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


DARKEST = 0.08
"""What even a black hole sends back, against a plate's brightness of 1."""


def defocus(image: Field, share: float) -> Field:
    """Give each pixel's neighbours a share of its light, along both axes; the border repeats itself."""
    for _ in range(2):
        padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
        image = ((1 - 2 * share) * image + share * (padded[:-2] + padded[2:])).T
    return image


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode grey pixels as an uncompressed PNG file.

    Deflate gives other bytes with other builds of zlib; blocks stored as they are do not, and noise hardly shrinks.
    """
    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each row starts with its filter, 0 for none
    blocks = [rows[start : start + 65535] for start in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", number == len(blocks), len(block), 65535 - len(block)) + block
        for number, block in enumerate(blocks, start=1)
    )
    stream = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
