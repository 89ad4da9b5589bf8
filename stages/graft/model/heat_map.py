"""Heat maps: where in an image the evidence for an answer lies.

For each layer that gives maps, a linear classifier of their averages imitates the model. Its weights also tell, at
every place of the maps, how much speaks for the answer. That suits any head and any features, and needs no gradient.

Letters: n images, c channels of a layer, k classes, s side of a heat map.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter

from stages.graft.backbone.runtime import Maps
from stages.graft.core.errors import DataError, ParamsError
from stages.graft.heads.head import Float32
from stages.graft.metrics.classification import Labels
from stages.graft.storage.arrays import read_arrays, read_metadata, write_arrays
from stages.graft.storage.records import parse_record

EVIDENCE = "evidence.safetensors"
"""Name of the file in the folder of a model."""

SMOOTHING = 0.04
"""Standard deviation of the Gaussian that smooths a heat map, as a share of its side."""

MAX_SIDE = 512
"""Largest side of a layer's maps."""

TINY = 1e-12
"""Added to variances, so that a constant map can be divided."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How much more a model's answers depend on the pixels that its heat maps name than on those that others name."""

    num_images: int
    """Images on which it was measured, of the validation split; 0: it was not."""
    num_better: int
    """Images whose own heat map scores higher than that of another image."""
    own_score: float
    """Insertion minus deletion with the image's own heat map, the mean over the images; -1 to 1, higher is better."""
    other_score: float
    """The same with the heat map of another image."""
    is_trusted: bool
    """Whether own heat maps are better beyond chance."""


UNMEASURED = Trust(num_images=0, num_better=0, own_score=0.0, other_score=0.0, is_trusted=False)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What turns the maps of a network into heat maps."""

    weights: tuple[Float32, ...]
    """Of each layer's classifier, shape (k, c); none when the network gives no maps."""
    sides: tuple[int, ...]
    """Height and width of each layer's maps."""
    agreement: float
    """Share of the images of the fit whose answer the classifiers of all layers, taken together, give too, [0, 1]."""
    trust: Trust = UNMEASURED
    """Whether the heat maps can be trusted."""

    @property
    def spreads(self) -> tuple[Float32, ...]:
        """The matrices that bring each layer's maps to the size of the largest, and smooth them, shape (s, side)."""
        return tuple(spread_matrix(max(self.sides), side) for side in self.sides)

    def heat_maps(self, maps: Sequence[Maps], answers: Labels) -> Float32:
        """Compute heat maps, shape (n, s, s), of the maps that a network gives, for the answers (n,)."""
        if not self.weights:
            raise ParamsError("this model has no heat maps: its network gives no maps; another `backbone.name` does")
        expected = [(weight.shape[1], side, side) for weight, side in zip(self.weights, self.sides, strict=True)]
        if [map_.shape[1:] for map_ in maps] != expected:
            raise DataError(f"the network and {EVIDENCE} are of two models; fetch the model again")
        return np.asarray(heat_maps(maps, self.weights, self.spreads, answers), dtype=np.float32)


NO_EVIDENCE = Evidence(weights=(), sides=(), agreement=0.0)
"""Of a model that gives no heat maps."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What the file of the evidence has beside its arrays."""

    sides: tuple[Annotated[int, Field(ge=1, le=MAX_SIDE)], ...]
    agreement: float
    trust: Trust


_RECORD = TypeAdapter(_Record)


def heat_maps(maps: Sequence[Any], weights: Sequence[Any], spreads: Sequence[Any], answers: Any) -> Any:
    """Compute heat maps from maps.

    Args:
        maps: of each layer, shape (n, c, side, side).
        weights: of each layer, shape (k, c).
        spreads: of each layer, as `Evidence.spreads`.
        answers: the classes to look for, shape (n,), integers.
        All are arrays of numpy, or all are tensors of torch.
    Returns:
        Shape (n, s, s): the higher, the more speaks for the answer there; 0 is the average of an image.
    Source:
        Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, eq. 2, for each layer; every
        layer counts the same, as its map is divided by its standard deviation.
    """
    total: Any = 0.0
    for map_, weight, spread in zip(maps, weights, spreads, strict=True):
        n, side = map_.shape[0], spread.shape[1]
        places = weight[answers].reshape(n, 1, -1) @ map_.reshape(n, map_.shape[1], side * side)
        centred = places - places.mean(2).reshape(n, 1, 1)
        scaled = centred / ((centred * centred).mean(2).reshape(n, 1, 1) + TINY) ** 0.5
        total = total + spread @ scaled.reshape(n, side, side) @ spread.T
    return total


def spread_matrix(size: int, side: int) -> Float32:
    """Give the matrix, shape (size, side), that interpolates `side` values linearly to `size` values and smooths them.

    `spread @ map @ spread.T` does so in both directions.
    """
    centres = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    interpolation = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(side)))
    distances = (np.arange(size)[:, None] - np.arange(size)) / (SMOOTHING * size)
    smoothing = np.exp(-(distances**2) / 2)
    return np.asarray(smoothing / smoothing.sum(axis=1, keepdims=True) @ interpolation, dtype=np.float32)


def save_evidence(evidence: Evidence, folder: Path) -> None:
    """Write the evidence of a model into its folder."""
    arrays = {f"layer{number:02}": weight for number, weight in enumerate(evidence.weights)}
    record = {"sides": list(evidence.sides), "agreement": evidence.agreement, "trust": asdict(evidence.trust)}
    write_arrays(arrays, folder / EVIDENCE, record)


def load_evidence(folder: Path) -> Evidence:
    """Read the evidence of a model from its folder.

    Raises:
        DataError: the file is missing or damaged, or is no evidence.
    """
    path = folder / EVIDENCE
    arrays, metadata = read_arrays(path), read_metadata(path)
    weights = tuple(arrays[name] for name in sorted(arrays))
    record = parse_record(metadata, _RECORD, path)
    if len(weights) != len(record.sides) or any(weight.ndim != 2 for weight in weights):
        raise DataError(f"{path} is no evidence: its layers do not fit together; `dvc repro` makes it again")
    return Evidence(weights=weights, **vars(record))
