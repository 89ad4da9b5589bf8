"""The choice of a network's runtime: OpenVINO on a CPU, torch on a GPU or where OpenVINO falls short."""

import ctypes
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from stages.graft.backbone.precision_check import ImageSample, bf16_problem
from stages.graft.backbone.runtime import Precision, Runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.core.params import Params

MAX_BATCH = 4096
"""Largest batch size, in images."""

CPU_BATCH, GPU_BATCH = 8, 128
"""Default batch sizes, in images. A CPU is as fast with 8 as with 32, and a few images need less padding."""

PRECISION_NOTES = "precision"
"""Folder, beside the one of converted networks, of the results of checks on samples of images."""


class RuntimeChoice(Params):
    """The values of the section `extract` that say how a network is run."""

    model_config = ConfigDict(extra="ignore")

    runtime: Literal["auto", "torch", "openvino"]
    """auto: OpenVINO on a CPU, torch on a GPU."""
    precision: Precision
    """auto: bf16 where the processor supports it and the features, also of the images, agree with fp32; else fp32."""
    device: Literal["auto", "cpu", "cuda"]
    """auto: a GPU if there is one."""
    compile: bool
    """Whether to apply torch.compile; for torch alone."""
    batch_size: int | None = Field(ge=1, le=MAX_BATCH)
    """In images; part of the fingerprint, since a row's bits depend on it; null for the device's default."""


class ExtractParams(RuntimeChoice):
    """The section `extract`."""

    model_config = ConfigDict(extra="forbid")

    views: Literal[1, 4] = 1
    """Views of an image over which its features are averaged; a part of the backbone, not of how it is run."""


AUTOMATIC = RuntimeChoice(runtime="auto", precision="auto", device="auto", compile=False, batch_size=None)
"""Everything as it suits the machine."""


def choose_runtime(weights: Weights, choice: RuntimeChoice, folder: Path, sample: ImageSample | None = None) -> Runtime:
    """Choose a network's runtime; torch is imported only to convert the network for OpenVINO, once, or to run it.

    Args:
        weights: the network's.
        choice: what the parameters ask for.
        folder: networks converted for OpenVINO are in its subfolders.
        sample: some of the images that the network is about to see, on which precision auto checks bf16.
    Raises:
        ParamsError: OpenVINO or a GPU is requested and cannot be used.
        DataError: an image of the sample cannot be decoded.
    """
    on_gpu = choice.device == "cuda" or (choice.device == "auto" and choice.runtime != "openvino" and gpu_present())
    if choice.runtime == "openvino" and choice.device == "cuda":
        raise ParamsError(
            "`extract.runtime: openvino` runs on the CPU; set `extract.device: cpu` or the runtime to torch"
        )
    runtime = _runtime(weights, choice, on_gpu, folder)
    if choice.precision != "auto" or runtime.record["precision"] != "bf16" or sample is None or not sample.ids:
        return runtime

    def runtime_in(precision: Precision) -> Runtime:
        return _runtime(weights, choice.model_copy(update={"precision": precision}), on_gpu, folder)

    notes = folder.parent / PRECISION_NOTES
    problem = bf16_problem(runtime_in, weights.to_record(), weights.preprocessing, sample, notes)
    if problem is None:
        return runtime
    print(f"extract: {weights.name} runs in fp32: {problem}", file=sys.stderr)
    return runtime_in("fp32")


def as_extracted(choice: RuntimeChoice, precision: str | None) -> RuntimeChoice:
    """Give the choice that uses fp32 where precision auto did so for the features; None: not known."""
    in_fp32 = choice.precision == "auto" and precision == "fp32"
    return choice.model_copy(update={"precision": "fp32"}) if in_fp32 else choice


def _runtime(weights: Weights, choice: RuntimeChoice, on_gpu: bool, folder: Path) -> Runtime:
    """Give OpenVINO on a CPU where it can run the network, else torch."""
    batch_size = choice.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
    if choice.runtime != "torch" and not on_gpu:
        from stages.graft.backbone.openvino_conversion import prepare

        prepared = prepare(weights, choice.precision, batch_size, folder)
        if not isinstance(prepared, str):
            return prepared
        if choice.runtime == "openvino":
            raise ParamsError(f"`extract.runtime: openvino` cannot run {weights.name}: {prepared}; set it to auto")
        print(f"extract: {weights.name} runs on torch, since OpenVINO falls short: {prepared}", file=sys.stderr)
    from stages.graft.backbone.torch_runtime import TorchRuntime  # imports torch, which takes seconds

    return TorchRuntime(weights, "cuda" if on_gpu else "cpu", choice.precision, batch_size, choice.compile)


def saved_runtime(folder: Path, weights: Weights, record: Mapping[str, Any]) -> Runtime:
    """Open the runtime that `Runtime.save` saved in a folder; `record` is the runtime's, when it was saved."""
    if str(record["runtime"]).startswith("openvino"):
        from stages.graft.backbone.openvino_runtime import open_saved

        return open_saved(folder, record["precision"], record["batch_size"], weights.preprocessing.crop_px)
    from stages.graft.backbone.torch_runtime import TorchRuntime

    return TorchRuntime(weights, "cuda" if gpu_present() else "cpu", "auto", record["batch_size"], compiled=False)


def gpu_present() -> bool:
    """Tell whether torch can use a GPU; torch is imported only if an NVIDIA driver is installed."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
