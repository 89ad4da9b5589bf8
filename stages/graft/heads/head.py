"""Heads: the last layers of a classifier, fitted on frozen features and stored as a few arrays.

Letters: n images, d features, c classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import DataError
from stages.graft.storage.arrays import read_arrays, read_metadata, write_arrays

Float32 = npt.NDArray[np.float32]
Layer = tuple[Float32, Float32]
"""Weight (num_out, num_in) and bias (num_out,)."""

HEAD = "head.safetensors"
"""Name of the file in the folder of a head or a model."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Linear layers with a ReLU between each two; from raw features to logits."""

    kind: str
    """logistic, prototype or mlp."""
    classes: tuple[str, ...]
    """Names of the c classes, in the order of the logits."""
    layers: tuple[Layer, ...]
    """Layers in the order from features to logits."""

    def logits(self, x: Float32) -> Float32:
        """Compute logits, shape (n, c), from features, shape (n, d)."""
        for number, (weight, bias) in enumerate(self.layers):
            x = np.maximum(x, 0) if number else x
            x = x @ weight.T + bias
        return x


def save_head(head: Head, folder: Path, backbone: Mapping[str, Any], name: str = HEAD) -> None:
    """Save a head and the record of the network that computed its features.

    The arrays are named like the state of torch's Sequential(Linear, ReLU, Linear).
    """
    arrays: dict[str, Float32] = {}
    for number, (weight, bias) in enumerate(head.layers):
        arrays |= {f"{2 * number}.weight": weight, f"{2 * number}.bias": bias}  # the ReLU has a number too
    metadata = {"kind": head.kind, "classes": list(head.classes), "backbone": dict(backbone)}
    write_arrays(arrays, folder / name, metadata)


def load_head(folder: Path, name: str = HEAD) -> Head:
    """Load a head from its folder.

    Raises:
        DataError: the file is missing or damaged, or is not a head.
    """
    path = folder / name
    arrays, metadata = read_arrays(path), read_metadata(path)
    try:
        numbers = sorted(int(name.removesuffix(".weight")) for name in arrays if name.endswith(".weight"))
        layers = tuple((arrays[f"{number}.weight"], arrays[f"{number}.bias"]) for number in numbers)
        return Head(kind=metadata["kind"], classes=tuple(metadata["classes"]), layers=layers)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is not a head: {error} is missing; run `dvc repro` to make it again") from None
