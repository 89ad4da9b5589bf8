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

INT8_IS_FOR = "`extract.precision: int8` is for OpenVINO on a CPU"

PRECISION_NOTES = "precision"
"""Folder, beside the one of converted networks, of the results of checks on samples of images."""


class RuntimeChoice(Params):
    """The values of the section `extract` that say how a network is run."""

    model_config = ConfigDict(extra="ignore")

    runtime: Literal["auto", "torch", "openvino"]
    """auto: OpenVINO on a CPU, torch on a GPU."""
    precision: Precision
    """auto: bf16 where the processor supports it and the features, also of the images, agree with fp32; else fp32.
    int8: in the network's inner parts, where features and a head's accuracy stay the same; else as auto."""
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
        sample: some of the images that the network is about to see: precision auto checks bf16 on them, int8 is
            calibrated on them.
    Raises:
        ParamsError: OpenVINO, a GPU or int8 is requested and cannot be used.
        DataError: an image of the sample cannot be decoded.
    """
    if choice.precision == "int8":
        return _calibrated(weights, choice, folder, sample)
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
    """Give the choice that uses fp32 where precision auto did so for the features, and auto in place of int8.

    None: not known.
    """
    if choice.precision not in ("auto", "int8"):
        return choice
    return choice.model_copy(update={"precision": "fp32" if precision == "fp32" else "auto"})


def _calibrated(weights: Weights, choice: RuntimeChoice, folder: Path, sample: ImageSample | None) -> Runtime:
    if sample is None:
        raise ParamsError("`extract.precision: int8` needs images to calibrate on; set it to auto")
    runtime = int8_runtime(weights, choice, folder, sample)
    if isinstance(runtime, str):
        raise ParamsError(f"`extract.precision: int8` cannot be had of {weights.name}: {runtime}; set it to auto")
    return runtime


def int8_runtime(weights: Weights, choice: RuntimeChoice, folder: Path, sample: ImageSample) -> Runtime | str:
    """Give a network in int8, calibrated on a sample, or the reason why there is none, as `choose_runtime` does.

    Raises:
        ParamsError: it is to run in torch or on a GPU, or is not calibrated yet and NNCF is not installed.
        DataError: an image of the sample cannot be decoded.
    """
    if choice.runtime == "torch":
        raise ParamsError(f"{INT8_IS_FOR}; set `extract.runtime: auto`, or the precision to auto")
    if choice.device == "cuda" or (choice.device == "auto" and choice.runtime == "auto" and gpu_present()):
        raise ParamsError(f"{INT8_IS_FOR}, and this is a GPU; set `extract.device: cpu`, or the precision to auto")
    from stages.graft.backbone.int8 import prepare_int8

    return prepare_int8(weights, choice.batch_size or CPU_BATCH, folder, sample)


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
