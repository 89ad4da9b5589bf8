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

SUMMARY_DIM = NUM_CENTRES * NUM_COMPONENTS
"""Numbers in a summary."""

SUMMARY_SCALE = 127
"""Values of a summary are stored as whole numbers, multiplied by this."""


@dataclass(frozen=True, kw_only=True)
class Codebook:
    """Kinds of local features."""

    mean: Float32
    """Mean descriptor, shape (128,)."""
    components: Float32
    """Principal components of descriptors, in columns, shape (128, NUM_COMPONENTS)."""
    centres: Float32
    """Of NUM_CENTRES kinds, shape (NUM_CENTRES, NUM_COMPONENTS)."""


@cache
def read_codebook(path: Path = FILE) -> Codebook:
    """Read the codebook."""
    return Codebook(**read_arrays(path))


def summarise(descriptors: Float32) -> npt.NDArray[np.int8]:
    """Sum up how descriptors, and those of the mirror image, differ from the nearest kind.

    Args:
        descriptors: of length 1, shape (p, 128).
    Returns:
        shape (SUMMARY_DIM,), int8; zeros for an image without points.
    Source:
        Jégou et al., Aggregating local image descriptors into compact codes, TPAMI 2012 (VLAD); Arandjelović and
        Zisserman, All about VLAD, CVPR 2013 (each kind's sum is scaled to length 1).
    """
    book = read_codebook()
    both = np.concatenate([descriptors, descriptors[:, MIRRORED]])
    x = (both - book.mean) @ book.components
    nearest = (x @ book.centres.T - (book.centres**2).sum(axis=1) / 2).argmax(axis=1)
    differences = x - book.centres[nearest]
    differences /= np.linalg.norm(differences, axis=1, keepdims=True) + 1e-6
    sums = (np.arange(NUM_CENTRES)[:, None] == nearest).astype(np.float32) @ differences
    sums /= np.linalg.norm(sums, axis=1, keepdims=True) + 1e-6
    return np.asarray(np.round(sums.reshape(-1) * SUMMARY_SCALE), dtype=np.int8)


def _mirrored_order() -> npt.NDArray[np.int64]:
    """Order of a SIFT descriptor's 4 x 4 cells of 8 directions in the mirror image."""
    row, column, direction = np.unravel_index(np.arange(DESCRIPTOR_DIM), (4, 4, 8))
    return np.ravel_multi_index((3 - row, column, (8 - direction) % 8), (4, 4, 8)).astype(np.int64)


MIRRORED = _mirrored_order()
"""`descriptors[:, MIRRORED]` are those of the mirror image."""
