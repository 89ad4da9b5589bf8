"""Heads: the last layers of a classifier, fitted on frozen features and stored as a few arrays.

Letters: n images, d features, c classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError, one_line
from stages.graft.storage.arrays import read_arrays, read_metadata, row_blocks, write_arrays

Float32 = npt.NDArray[np.float32]
Layer = tuple[Float32, Float32]
"""Weight (num_out, num_in) and bias (num_out,)."""

HEAD = "head.safetensors"
"""Name of the file in the folder of a head or a model."""

CALIBRATED_ON = "calibrated_on"
"""Key in the metadata of features and heads, and in extract's report: ids of the images that int8 was calibrated on."""

SOFTSIGN = "softsign"
"""Start of the names of its arrays in the file. Versions that know no softsign refuse a file with such names."""


@dataclass(frozen=True, kw_only=True)
class Softsign:
    """Softly limits every feature to (-1, 1), so that none that lies far out dominates the others: z / (1 + |z|)."""

    weight: Float32
    """Factor of each feature, shape (d,)."""
    bias: Float32
    """Added to each feature after that, which makes z of it, shape (d,)."""

    def apply(self, x: Float32) -> Float32:
        """Limit features, shape (n, d)."""
        limited = np.empty_like(x)
        for rows in row_blocks(len(x)):
            z = x[rows] * self.weight + self.bias
            limited[rows] = z / (1 + np.abs(z))
        return limited


@dataclass(frozen=True, kw_only=True)
class Head:
    """Linear layers with a ReLU between each two, after a softsign if there is one; from raw features to logits."""

    kind: str
    """lda, logistic, prototype or mlp."""
    classes: tuple[str, ...]
    """Names of the c classes, in the order of the logits."""
    layers: tuple[Layer, ...]
    """Layers in the order from features to logits."""
    softsign: Softsign | None = None
    """Comes before the layers; None in the kinds whose layers take raw features."""

    @property
    def num_features(self) -> int:
        """Number of features that it reads, d."""
        return int(self.layers[0][0].shape[1])

    @property
    def arrays(self) -> dict[str, Float32]:
        """All numbers of the head; those of the layers are named like the state of Sequential(Linear, ReLU, Linear)."""
        arrays = (
            {}
            if self.softsign is None
            else {f"{SOFTSIGN}.{name}": value for name, value in vars(self.softsign).items()}
        )
        for number, (weight, bias) in enumerate(self.layers):
            arrays |= {f"{2 * number}.weight": weight, f"{2 * number}.bias": bias}  # the ReLU has a number too
        return arrays

    def logits(self, x: Float32) -> Float32:
        """Compute logits, shape (n, c), from features, shape (n, d)."""
        return np.concatenate([self._logits(x[rows]) for rows in row_blocks(len(x))])

    def _logits(self, x: Float32) -> Float32:
        x = x if self.softsign is None else self.softsign.apply(x)
        for number, (weight, bias) in enumerate(self.layers):
            x = np.maximum(x, 0) if number else x
            x = x @ weight.T + bias
        return x


def save_head(
    head: Head, folder: Path, backbone: Mapping[str, Any], name: str = HEAD, calibrated_on: Sequence[str] = ()
) -> None:
    """Save a head and the record of the network that computed its features; in int8, with what it was calibrated on."""
    metadata = {"kind": head.kind, "classes": list(head.classes), "backbone": dict(backbone)}
    calibration = {CALIBRATED_ON: list(calibrated_on)} if calibrated_on else {}
    write_arrays(head.arrays, folder / name, metadata | calibration)


def read_calibrated_on(path: Path) -> list[str]:
    """Read from a file of features, or of a head that was fitted to them, the ids of the images on which their network
    was calibrated for int8; none for another precision."""
    return list(read_metadata(path).get(CALIBRATED_ON, []))


def load_head(folder: Path, name: str = HEAD) -> Head:
    """Load a head from its folder.

    Raises:
        DataError: the file is missing or damaged, or is not a head: an array is missing, or does not fit the others.
    """
    path = folder / name
    arrays, metadata = read_arrays(path), read_metadata(path)
    try:
        head = _head_of(arrays, metadata)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is not a head: {one_line(error)} is missing; run `dvc repro` to make it again"
        ) from None
    if misfit := _misfit(head):
        raise DataError(f"{path} is not a head: {misfit}; run `dvc repro` to make it again")
    return head


def _head_of(arrays: Mapping[str, Float32], metadata: Mapping[str, Any]) -> Head:
    """Put the arrays of a file together; a KeyError names one that is missing."""
    parts = [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]
    has_softsign = SOFTSIGN in parts
    numbers = sorted(int(part) for part in parts if part != SOFTSIGN)
    layers = tuple((arrays[f"{number}.weight"], arrays[f"{number}.bias"]) for number in numbers)
    softsign = Softsign(weight=arrays[f"{SOFTSIGN}.weight"], bias=arrays[f"{SOFTSIGN}.bias"]) if has_softsign else None
    return Head(kind=metadata["kind"], classes=tuple(metadata["classes"]), layers=layers, softsign=softsign)


def _misfit(head: Head) -> str | None:
    """Say what in a head does not fit together; None when all does."""
    if not head.classes or len(set(head.classes)) < len(head.classes):
        return "it names no class, or one twice"
    if not all(isinstance(text, str) for text in (head.kind, *head.classes)):
        return "its kind and its classes must be text"
    shapes = [(weight.shape, bias.shape) for weight, bias in head.layers]
    if not shapes or any(len(weight) != 2 or bias != weight[:1] for weight, bias in shapes):
        return f"a layer is a weight (num_out, num_in) and a bias (num_out,), not {shapes}"
    widths = [weight[1] for weight, _ in shapes] + [len(head.classes)]
    if [weight[0] for weight, _ in shapes] != widths[1:]:
        return f"its layers do not follow each other to {len(head.classes)} classes: {shapes}"
    if head.softsign is not None and any(array.shape != (widths[0],) for array in vars(head.softsign).values()):
        return f"its softsign is not of {widths[0]} features"
    return None
