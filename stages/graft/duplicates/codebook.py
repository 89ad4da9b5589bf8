"""Summary of an image's local features: one vector of fixed length, the same for the image and its mirror image.

The codebook was fitted once, to generated images (`python -m stages.pretraining.fit_codebook`), and is never fitted
to the user's images: so a summary depends on its image alone, and can be kept.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.graft.storage.arrays import read_arrays

Float32 = npt.NDArray[np.float32]

FILE = Path(__file__).with_name("codebook.safetensors")

NUM_CENTRES, NUM_COMPONENTS, DESCRIPTOR_DIM = 48, 48, 128

SUMMARY_DIM = 256
"""Numbers in a summary."""

Sums = npt.NDArray[np.float32]
"""Of differences from the kinds, shape (NUM_CENTRES * NUM_COMPONENTS,)."""


@dataclass(frozen=True, kw_only=True)
class Codebook:
    """Kinds of local features."""

    mean: Float32
    """Mean descriptor, shape (128,)."""
    components: Float32
    """Principal components of descriptors, in columns, shape (128, NUM_COMPONENTS)."""
    centres: Float32
    """Of NUM_CENTRES kinds, shape (NUM_CENTRES, NUM_COMPONENTS)."""
    whitening_mean: Float32
    """Mean of the sums of images, shape (NUM_CENTRES * NUM_COMPONENTS,)."""
    whitening: Float32
    """In columns, what makes sums short where many images differ, shape (NUM_CENTRES * NUM_COMPONENTS, SUMMARY_DIM)."""


@cache
def read_codebook(path: Path = FILE) -> Codebook:
    """Read the codebook."""
    arrays = read_arrays(path)
    return Codebook(**{name: np.asarray(array, np.float32) for name, array in arrays.items()})


def summarise(descriptors: Float32) -> npt.NDArray[np.float16]:
    """Sum up an image's descriptors, of length 1, shape (p, 128).

    Returns:
        Shape (SUMMARY_DIM,), float16, of length 1; zeros for an image without points.
    Source:
        Jégou and Chum, Negative evidences and co-occurrences in image retrieval, ECCV 2012 (whitening).
    """
    if not len(descriptors):
        return np.zeros(SUMMARY_DIM, np.float16)
    book = read_codebook()
    sums = sum_differences(descriptors, book.mean, book.components, book.centres)
    summary = (sums - book.whitening_mean) @ book.whitening
    return np.asarray(summary / max(float(np.linalg.norm(summary)), 1e-9), dtype=np.float16)


def sum_differences(descriptors: Float32, mean: Float32, components: Float32, centres: Float32) -> Sums:
    """Sum up how descriptors, and those of the mirror image, differ from the nearest kind.

    Args:
        descriptors: of length 1, shape (p, 128).
        mean, components, centres: as in Codebook.
    Source:
        Jégou et al., Aggregating local image descriptors into compact codes, TPAMI 2012 (VLAD); Arandjelović and
        Zisserman, All about VLAD, CVPR 2013 (each kind's sum is scaled to length 1).
    """
    x = (np.concatenate([descriptors, descriptors[:, MIRRORED]]) - mean) @ components
    nearest = (x @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
    differences = x - centres[nearest]
    differences /= np.linalg.norm(differences, axis=1, keepdims=True) + 1e-6
    sums = (np.arange(NUM_CENTRES)[:, None] == nearest).astype(np.float32) @ differences
    sums /= np.linalg.norm(sums, axis=1, keepdims=True) + 1e-6
    return np.asarray(sums.reshape(-1), dtype=np.float32)


def _mirrored_order() -> npt.NDArray[np.int64]:
    """Order of a SIFT descriptor's 4 x 4 cells of 8 directions in the mirror image."""
    row, column, direction = np.unravel_index(np.arange(DESCRIPTOR_DIM), (4, 4, 8))
    return np.ravel_multi_index((3 - row, column, (8 - direction) % 8), (4, 4, 8)).astype(np.int64)


MIRRORED = _mirrored_order()
"""`descriptors[:, MIRRORED]` are those of the mirror image."""
