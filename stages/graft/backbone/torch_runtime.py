"""torch as a runtime: any network on any processor, and the one for GPUs."""

import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.runtime import Compute, Precision
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features

GPU_STREAMS = 2
"""One batch is copied while another is computed."""


class TorchRuntime:
    """One network in torch, channels-last, without gradients."""

    def __init__(self, weights: Weights, device: str, precision: Precision, batch_size: int, compiled: bool) -> None:
        """Describe it; nothing is loaded yet.

        Args:
            weights: the network's.
            device: cpu or cuda.
            precision: auto is bf16 on a GPU that computes in it, else fp32.
            batch_size: images a batch.
            compiled: translate the network with torch.compile first; needs a C++ compiler.
        Raises:
            ParamsError: cuda is asked for and there is none.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ParamsError("`extract.device` is cuda, but torch finds no GPU; set it to auto or cpu")
        self._weights, self._device, self._compiled = weights, torch.device(device), compiled
        on_gpu = device == "cuda"
        self._bf16 = precision == "bf16" or (precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
        # torch.compile's first call translates, which must happen once.
        self.num_streams = GPU_STREAMS if on_gpu else 1 if compiled else num_cpus()
        self.record: dict[str, Any] = {
            "runtime": f"torch {torch.__version__}, torchvision {version('torchvision')}",
            "compiled": compiled,
            "processor": torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "precision": "bf16" if self._bf16 else "fp32",
            "batch_size": batch_size,
        }

    def load(self) -> Compute:
        """Build the network. On a CPU, torch is set to one thread: batches are computed side by side instead."""
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        trunk: Any = load_backbone(self._weights).to(self._device)
        trunk = torch.compile(trunk) if self._compiled else trunk
        streams = threading.Semaphore(self.num_streams)

        def compute(images: Batch) -> Features:
            with (
                streams,
                torch.inference_mode(),
                torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16),
            ):
                features = trunk(torch.from_numpy(images).to(self._device))
            return np.ascontiguousarray(features.float().cpu().numpy().reshape(len(images), -1))

        return compute

    def save(self, folder: Path) -> None:
        """Write nothing: torch needs the weights alone."""
