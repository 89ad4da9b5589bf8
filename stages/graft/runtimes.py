"""What runs a network: the one interface that torch and OpenVINO fill.

A runtime takes uint8 batches of one fixed shape and gives float32 features; several batches may be under way at once,
each computed by one thread, so that a row's bits do not depend on the number of processors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from stages.graft.images import Batch
from stages.graft.store import Features

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


class Loaded:
    """A runtime whose network is ready, to be used again without loading it."""

    def __init__(self, runtime: Runtime, compute: Compute) -> None:
        """Keep what `Runtime.load` gave."""
        self.record, self.num_streams, self._runtime, self._compute = (
            runtime.record,
            runtime.num_streams,
            runtime,
            compute,
        )

    def load(self) -> Compute:
        """Give the network."""
        return self._compute

    def save(self, folder: Path) -> None:
        """As the runtime itself."""
        self._runtime.save(folder)
