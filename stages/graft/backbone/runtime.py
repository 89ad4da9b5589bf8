"""What runs a network: the one interface that torch and OpenVINO fill.

A runtime takes uint8 batches of one fixed shape and gives float32 features; several batches may be under way at once,
each computed by one thread, so that a row's bits do not depend on the number of processors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features

Compute = Callable[[Batch], Features]
"""Images (batch_size, h, w, 3), uint8, to features (batch_size, d), float32; may be called in several threads."""

Precision = Literal["auto", "fp32", "bf16"]


class Runtime(Protocol):
    """A way to run one network."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Everything of it that can change a bit of a feature; part of the store's fingerprint."""

    @property
    def num_streams(self) -> int:
        """Batches it works on at once."""

    def load(self) -> Compute:
        """Get the network ready; seconds the first time, a fraction of one later."""

    def save(self, folder: Path) -> None:
        """Copy what it needs beside the weights into a folder, which need not exist, to be run elsewhere."""


class LoadedOnce:
    """A runtime that keeps its network from the first time it is loaded."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing is loaded yet."""
        self.record, self.num_streams, self._runtime = runtime.record, runtime.num_streams, runtime
        self._compute: Compute | None = None

    def load(self) -> Compute:
        """Give the network."""
        if self._compute is None:
            self._compute = self._runtime.load()
        return self._compute

    def save(self, folder: Path) -> None:
        """As the runtime itself."""
        self._runtime.save(folder)
