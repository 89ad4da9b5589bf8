"""torch as a runtime: it runs any network on any processor, and on GPUs."""

import threading
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stages.graft.backbone.feature_maps import with_maps
from stages.graft.backbone.network import choose_device, load_averaged
from stages.graft.backbone.runtime import Compute, ComputeMaps, Maps, Precision, without_maps
from stages.graft.backbone.weights import Weights
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features

GPU_STREAMS = 2
"""Batches at once on a GPU: one is copied while another is computed."""


class TorchRuntime:
    """One network in torch, channels-last, without gradients."""

    def __init__(self, weights: Weights, device: str, precision: Precision, batch_size: int, compiled: bool) -> None:
        """Describe the runtime on a device, cpu or cuda, without loading the network.

        Precision auto is bf16 on a GPU that computes in it, else fp32. `compiled` applies torch.compile, which needs a
        C++ compiler.

        Raises:
            ParamsError: cuda is requested and there is no GPU.
        """
        self._weights, self._device, self._compiled = weights, choose_device(device), compiled
        on_gpu = device == "cuda"
        self._bf16 = precision == "bf16" or (precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
        # The first call of a compiled network compiles it, which must happen once.
        self.num_streams = GPU_STREAMS if on_gpu else 1 if compiled else num_cpus()
        self.record: dict[str, Any] = {
            "runtime": f"torch {torch.__version__}, torchvision {version('torchvision')}",
            "compiled": compiled,
            "processor": torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "precision": "bf16" if self._bf16 else "fp32",
            "batch_size": batch_size,
        }

    def load(self) -> Compute:
        """Build the network once. On a CPU, torch is limited to one thread, as batches are computed in parallel."""
        return self._compute

    @cached_property
    def _compute(self) -> Compute:
        backbone: Any = load_averaged(self._weights).to(self._device)
        run = self._run(torch.compile(backbone) if self._compiled else backbone)
        return lambda images: _array(run(images)).reshape(len(images), -1)

    def load_maps(self) -> ComputeMaps:
        """Build the network with its maps once."""
        return self._compute_maps

    @cached_property
    def _compute_maps(self) -> ComputeMaps:
        backbone = with_maps(load_averaged(self._weights), self._weights.preprocessing)
        if backbone is None:
            raise without_maps()
        run = self._run(backbone.to(self._device))

        def compute(images: Batch) -> tuple[Features, tuple[Maps, ...]]:
            features, *maps = run(images)
            return _array(features).reshape(len(images), -1), tuple(_array(some[: len(images)]) for some in maps)

        return compute

    def _run(self, network: Any) -> Callable[[Batch], Any]:
        """Give a function that runs a network on a batch, in at most `num_streams` threads at once."""
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        streams = threading.Semaphore(self.num_streams)

        def run(images: Batch) -> Any:
            with (
                streams,
                torch.inference_mode(),
                torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16),
            ):
                return network(torch.from_numpy(images).to(self._device))

        return run

    def save(self, folder: Path) -> None:
        """Write nothing, since torch needs only the weights."""


def _array(values: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values.float().cpu().numpy())
