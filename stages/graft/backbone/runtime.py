"""The interface of a runtime, which runs a network: implemented with torch and with OpenVINO.

A runtime takes uint8 batches of one fixed shape and gives float32 features. Several batches may be computed at once,
each by one thread, so that a row's bits do not depend on the number of processors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from stages.graft.core.errors import ParamsError
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features

Compute = Callable[[Batch], Features]
"""From images (batch_size, h, w, 3), uint8, to features (batch_size, d), float32; may be called in several threads."""

Maps = npt.NDArray[np.float32]
"""What a layer gives for each place of an image, shape (n, c, h, w)."""

ComputeMaps = Callable[[Batch], tuple[Features, tuple[Maps, ...]]]
"""As `Compute`, from the images to the features and the maps of each layer that has some, in one pass."""

Precision = Literal["auto", "fp32", "bf16", "int8"]


class Runtime(Protocol):
    """Runs one network."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Everything about the runtime that can change a bit of a feature; part of the store's fingerprint."""

    @property
    def num_streams(self) -> int:
        """Number of batches computed at once."""

    def load(self) -> Compute:
        """Load the network; later calls give the loaded one."""

    def load_maps(self) -> ComputeMaps:
        """Load the network so that it gives its maps too; later calls give the loaded one.

        Raises:
            ParamsError: it has no maps.
        """

    def save(self, folder: Path) -> None:
        """Copy the files that running the network needs, beside the weights, into a folder, which need not exist."""


def without_maps() -> ParamsError:
    """Describe a network that has no maps, or whose maps cannot be reached."""
    return ParamsError("this network gives no maps from which heat maps could be made; another `backbone.name` does")
