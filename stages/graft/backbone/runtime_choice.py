"""Which runtime a network gets: OpenVINO on a processor, torch on a GPU or where OpenVINO falls short."""

import ctypes
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stages.graft.backbone.runtime import Precision, Runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.core.params import Params

CPU_BATCH, GPU_BATCH = 8, 128
"""Images a batch unless the parameters say otherwise. A processor is as quick with 8 as with 32, and a few new images
cost less padding, as does a single one that is asked about."""


class RuntimeChoice(Params):
    """The section `extract`: what runs the network."""

    runtime: Literal["auto", "torch", "openvino"]
    """auto: OpenVINO on a CPU, torch on a GPU."""
    precision: Precision
    """auto: bf16 where the processor computes in it and the features stay the same to three digits, else fp32."""
    device: Literal["auto", "cpu", "cuda"]
    """auto: a GPU when there is one."""
    compile: bool
    """torch alone: translate the network with torch.compile first."""
    batch_size: int | None = Field(ge=1, le=4096)
    """Images a batch; part of the fingerprint, since a row's bits depend on it; null suits the device."""


AUTOMATIC = RuntimeChoice(runtime="auto", precision="auto", device="auto", compile=False, batch_size=None)
"""Whatever suits the machine."""


def choose_runtime(weights: Weights, choice: RuntimeChoice, folder: Path) -> Runtime:
    """Find what the network is to be run with; nothing is loaded if it was run with OpenVINO before.

    Args:
        weights: the network's.
        choice: what the parameters ask for.
        folder: where networks converted for OpenVINO are kept.
    Raises:
        ParamsError: OpenVINO or a GPU is asked for where it cannot be had.
    """
    on_gpu = choice.device == "cuda" or (choice.device == "auto" and choice.runtime != "openvino" and gpu_present())
    if choice.runtime == "openvino" and choice.device == "cuda":
        raise ParamsError(
            "`extract.runtime: openvino` runs on the CPU; set `extract.device: cpu` or the runtime to torch"
        )
    batch_size = choice.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
    if choice.runtime != "torch" and not on_gpu:
        from stages.graft.backbone.openvino_runtime import prepare

        prepared = prepare(weights, choice.precision, batch_size, folder)
        if not isinstance(prepared, str):
            return prepared
        if choice.runtime == "openvino":
            raise ParamsError(f"`extract.runtime: openvino` cannot run {weights.name}: {prepared}; set it to auto")
        print(f"extract: {weights.name} runs on torch, since OpenVINO falls short: {prepared}", file=sys.stderr)
    from stages.graft.backbone.torch_runtime import TorchRuntime  # torch: seconds, spent only where it is needed

    return TorchRuntime(weights, "cuda" if on_gpu else "cpu", choice.precision, batch_size, choice.compile)


def saved_runtime(folder: Path, weights: Weights, record: Mapping[str, Any]) -> Runtime:
    """Give the runtime that was saved in a folder.

    Args:
        folder: where `Runtime.save` left what it needs.
        weights: the network's.
        record: the runtime's, when it was saved.
    """
    if str(record["runtime"]).startswith("openvino"):
        from stages.graft.backbone.openvino_runtime import opened

        return opened(folder, record["precision"], record["batch_size"])
    from stages.graft.backbone.torch_runtime import TorchRuntime

    return TorchRuntime(weights, "cuda" if gpu_present() else "cpu", "auto", record["batch_size"], compiled=False)


def gpu_present() -> bool:
    """Say whether an NVIDIA driver is installed and torch can use its GPU; torch is imported only if one is."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
