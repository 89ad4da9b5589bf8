"""OpenVINO as a runtime: a network is converted once, compared with torch, and kept in the store."""

import queue
import shutil
import sys
import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.runtime import Compute, Precision
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError, GraftError, one_line
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features
from stages.graft.storage.files import atomic_path, read_json, write_json
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.locks import exclusive_lock, mark_used, shared_lock

RECORD, NETWORK, TENSORS = "network.json", "network.xml", "network.bin"

FORMAT = 3
"""Version of the converted network's files."""

MEAN_COSINE, WORST_COSINE = 0.999, 0.995
"""Least cosine between OpenVINO's features and torch's in fp32, over the probes, for a precision to be used."""

NUM_PROBES = 8
"""Images on which the features are compared."""

OPENVINO_PRECISIONS = {"bf16": "bf16", "fp32": "f32"}
"""OpenVINO's names of the precisions."""


def prepare(weights: Weights, precision: Precision, batch_size: int, folder: Path) -> "OpenVinoRuntime | str":
    """Give a network's runtime, or the reason why OpenVINO cannot run it; the network is converted once.

    Precision auto is bf16 where the processor supports it and the features agree with torch's, else fp32. Converted
    networks are in subfolders of `folder`.
    """
    converted = _converted(weights, folder)
    mark_used(converted / RECORD)
    record = read_json(converted / RECORD)
    if record["error"] is not None:
        return str(record["error"])
    if precision == "auto":
        cosine = record["cosine"]
        candidates = ["bf16", "fp32"] if computes_in_bf16() else ["fp32"]
        chosen = next((name for name in candidates if _agrees(cosine[name])), None)
        if chosen is None:
            return f"cosine to torch's features {cosine['fp32']['worst']:.4f} at worst"
        if chosen != candidates[0]:
            reason = f"in bf16 its features differ (cosine {cosine['bf16']['worst']:.4f})"
            print(f"extract: {weights.name} runs in fp32: {reason}", file=sys.stderr)
    else:
        chosen = precision
    runtime = OpenVinoRuntime(converted, record, chosen, batch_size)
    shared_lock(converted, runtime)
    return runtime


class OpenVinoRuntime:
    """One converted network."""

    def __init__(self, folder: Path, record: Mapping[str, Any], precision: str, batch_size: int) -> None:
        """Describe the runtime of the converted network in a folder, by its network.json, without compiling it."""
        core = openvino.Core()
        self._folder, self._sha256 = folder, record["sha256"]
        self._size_px = record["made_from"]["preprocessing"]["crop_px"]
        self.num_streams = num_cpus()
        self.record: dict[str, Any] = {
            "runtime": f"openvino {openvino.get_version()}",
            "converted_by": f"torch {record['made_from']['torch']}, torchvision {record['made_from']['torchvision']}",
            "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
            "capabilities": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            "precision": precision,
            "batch_size": batch_size,
        }

    def load(self) -> Compute:
        """Read and compile the network once.

        Raises:
            DataError: the converted network is damaged.
        """
        return self._compute

    @cached_property
    def _compute(self) -> Compute:
        if (problem := network_problem(self._folder, self._sha256)) is not None:
            raise DataError(f"{problem}; delete the folder {self._folder} and run again")
        model = openvino.Core().read_model(self._folder / NETWORK)
        return _compile(model, self.record["batch_size"], self._size_px, self.record["precision"], self.num_streams)

    def save(self, folder: Path) -> None:
        """Copy the converted network."""
        folder.mkdir(exist_ok=True)
        for name in (RECORD, NETWORK, TENSORS):
            shutil.copyfile(self._folder / name, folder / name)


def network_problem(folder: Path, sha256: Mapping[str, str]) -> str | None:
    """Name the first of a converted network's files that is not as its record says; None when all are."""
    for name, expected in sha256.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            return f"{path} is missing or damaged"
    return None


def open_saved(folder: Path, precision: str, batch_size: int) -> OpenVinoRuntime:
    """Open the runtime that `OpenVinoRuntime.save` saved; fp32 replaces bf16 where the processor lacks it."""
    if precision == "bf16" and not computes_in_bf16():
        print("graft: this processor does not compute in bf16; the network runs in fp32", file=sys.stderr)
        precision = "fp32"
    return OpenVinoRuntime(folder, read_json(folder / RECORD), precision, batch_size)


def computes_in_bf16() -> bool:
    """Tell whether this processor has instructions for bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(model: Any, batch_size: int, size_px: int, precision: str, num_streams: int) -> Compute:
    model.reshape([batch_size, size_px, size_px, 3])
    hints = {
        "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
        "NUM_STREAMS": num_streams,
        "INFERENCE_NUM_THREADS": num_streams,
        "ENABLE_CPU_PINNING": False,  # decoding shares the processors
    }
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(num_streams):
        request = compiled.create_infer_request()
        _fill_tables(request)
        requests.put(request)

    def compute(images: Batch) -> Features:
        request = requests.get()
        try:
            features: npt.NDArray[np.float32] = request.infer([images], share_inputs=True)[0]
            return features.reshape(len(images), -1).copy()
        finally:
            requests.put(request)

    return compute


def _fill_tables(request: Any) -> None:
    """Use OpenVINO's types in one thread first.

    OpenVINO fills its tables of types at first use, under a lock, without releasing Python's own lock: two threads that
    do so at once can deadlock (seen with openvino 2026.4).
    """
    for tensor in (*request.input_tensors, *request.output_tensors):
        tensor.element_type.to_dtype()
        openvino.Tensor(tensor.data, shared_memory=True)


def _converted(weights: Weights, folder: Path) -> Path:
    """Give the folder of the converted network, or of the record why it cannot be converted."""
    made_from = {
        "format": FORMAT,
        **weights.to_record(),
        "openvino": openvino.get_version(),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }
    converted = folder / fingerprint_of(made_from)
    shared_lock(converted, weights)
    if not (converted / RECORD).exists():
        with exclusive_lock(converted):
            if not (converted / RECORD).exists():  # another process may have converted it meanwhile
                _convert(weights, made_from, converted)
    return converted


def _convert(weights: Weights, made_from: Mapping[str, Any], target: Path) -> None:
    """Convert a network, compare it with torch and keep both results, or the reason why it cannot be converted."""
    print(f"extract: converting {weights.name} for OpenVINO, once", file=sys.stderr)
    from stages.graft.backbone.network import load_backbone

    backbone = load_backbone(weights)
    with atomic_path(target) as folder:
        folder.mkdir()
        record: dict[str, Any] = {"made_from": made_from, "sha256": None, "cosine": {}, "error": None}
        try:
            record["cosine"] = _save_and_compare(backbone, _probes(weights.preprocessing.crop_px), folder)
            record["sha256"] = {name: sha256_of(folder / name) for name in (NETWORK, TENSORS)}
        except _UnwritableError:
            raise
        except Exception as problem:  # OpenVINO raises many kinds on what it cannot do
            record["error"] = one_line(problem)
        write_json(record, folder / RECORD)


def _save_and_compare(backbone: Any, probes: Batch, folder: Path) -> dict[str, dict[str, float]]:
    """Write the converted network and give the cosine of its features to torch's, in each precision."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: constants in a graph of fixed shape are intended
        model = openvino.convert_model(backbone, example_input=torch.from_numpy(probes[:2]))
    # OpenVINO's own names depend on what the process converted before.
    model.set_friendly_name("network")
    for number, part in enumerate(model.get_ordered_ops()):
        part.set_friendly_name(f"part{number}")
    _save(model, folder)
    with torch.inference_mode():
        expected = backbone(torch.from_numpy(probes)).float().numpy().reshape(NUM_PROBES, -1)
    return {name: _cosine(model, name, probes, expected) for name in OPENVINO_PRECISIONS}


class _UnwritableError(GraftError):
    """The converted network cannot be written; unlike other errors, this one is not kept."""


def _save(model: Any, folder: Path) -> None:
    try:
        openvino.save_model(model, folder / NETWORK, compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO does not say why
        free = shutil.disk_usage(folder).free
        raise _UnwritableError(
            f"the converted network cannot be written to {folder.parent}, where {free / 1e6:.0f} MB are free "
            f"({error}); make room or move the folder with GRAFT_STORE, and run again"
        ) from None


def _cosine(model: Any, precision: str, probes: Batch, expected: Features) -> dict[str, float]:
    features = _compile(model, len(probes), probes.shape[1], precision, num_streams=1)(probes)
    if features.shape != expected.shape:
        raise DataError(f"features of shape {features.shape}, torch gives {expected.shape}")
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = np.nan_to_num((features * expected).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny))
    return {"mean": round(float(cosines.mean()), 6), "worst": round(float(cosines.min()), 6)}


def _agrees(cosine: Mapping[str, float]) -> bool:
    return cosine["mean"] >= MEAN_COSINE and cosine["worst"] >= WORST_COSINE


def _probes(size_px: int) -> Batch:
    """Draw images with structure at every scale, as photographs have: a sum of noise of 4, 8, 16, ... cells a side."""
    rng = np.random.default_rng(0)
    total = np.zeros((NUM_PROBES, size_px, size_px, 3))
    cells = 4
    while cells < size_px:
        index = np.arange(size_px) * cells // size_px
        total += rng.normal(size=(NUM_PROBES, cells, cells, 3))[:, index][:, :, index] / np.log2(cells)
        cells *= 2
    return np.clip(128 + 50 * total, 0, 255).astype(np.uint8)
