"""OpenVINO as a runtime: a network is converted once, compared with torch, and kept beside the store."""

import queue
import shutil
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.runtime import Compute, Precision
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError, GraftError
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features
from stages.graft.storage.files import atomic_path, read_json, write_json
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.locks import exclusive_lock, mark_used, shared_lock

RECORD, NETWORK, TENSORS = "network.json", "network.xml", "network.bin"

FORMAT = 3
"""Of the converted network's files."""

MEAN_COSINE, WORST_COSINE = 0.999, 0.995
"""Between OpenVINO's features and torch's in fp32, over the probes; below either, the precision falls short."""

NUM_PROBES = 8

OPENVINO_PRECISIONS = {"bf16": "bf16", "fp32": "f32"}
"""OpenVINO's names of the precisions."""


def prepare(weights: Weights, precision: Precision, batch_size: int, folder: Path) -> "OpenVinoRuntime | str":
    """Give a network's runtime, after converting the network if that has not been done; or say why there is none.

    Args:
        weights: the network's.
        precision: auto is bf16 where the processor computes in it and the probes' features agree, else fp32.
        batch_size: images a batch.
        folder: where converted networks are kept.
    """
    made_from = {
        "format": FORMAT,
        **weights.record(),
        "openvino": openvino.get_version(),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }
    place = folder / fingerprint_of(made_from)
    shared_lock(place, weights)
    if not (place / RECORD).exists():
        with exclusive_lock(place):
            if not (place / RECORD).exists():  # still, after another process was waited for
                _convert(weights, made_from, place)
    mark_used(place / RECORD)
    record = read_json(place / RECORD)
    if record["error"] is not None:
        return str(record["error"])
    candidates = [precision] if precision != "auto" else ["bf16", "fp32"] if computes_in_bf16() else ["fp32"]
    fitting = [name for name in candidates if precision != "auto" or _agrees(record["cosine"][name])]
    if not fitting:
        return f"cosine to torch's features {record['cosine']['fp32']['worst']:.4f} at worst"
    if precision == "auto" and fitting[0] != candidates[0]:
        worst = record["cosine"]["bf16"]["worst"]
        why = f"in bf16 its features differ (cosine {worst:.4f})"
        print(f"extract: {weights.name} runs in fp32: {why}", file=sys.stderr)
    runtime = OpenVinoRuntime(place, record, fitting[0], batch_size)
    shared_lock(place, runtime)
    return runtime


class OpenVinoRuntime:
    """One converted network."""

    def __init__(self, place: Path, record: Mapping[str, Any], precision: str, batch_size: int) -> None:
        """Describe it; nothing is compiled yet.

        Args:
            place: the converted network's folder.
            record: its network.json.
            precision: bf16 or fp32.
            batch_size: images a batch.
        """
        core = openvino.Core()
        self._place, self._sha256 = place, record["sha256"]
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
        """Read and compile the network.

        Raises:
            DataError: the converted network is damaged.
        """
        if (problem := network_problem(self._place, self._sha256)) is not None:
            raise DataError(f"{problem}; delete the folder {self._place} and run again")
        model = openvino.Core().read_model(self._place / NETWORK)
        batch_size, precision = self.record["batch_size"], self.record["precision"]
        return _pooled(_compile(model, batch_size, self._size_px, precision, self.num_streams), self.num_streams)

    def save(self, folder: Path) -> None:
        """Copy the converted network."""
        folder.mkdir(exist_ok=True)
        for name in (RECORD, NETWORK, TENSORS):
            shutil.copyfile(self._place / name, folder / name)


def network_problem(folder: Path, sha256: Mapping[str, str]) -> str | None:
    """Say which of a converted network's files is not as its record says; None when all are."""
    bad = (
        folder / name
        for name, its in sha256.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != its
    )
    return next((f"{path} is missing or damaged" for path in bad), None)


def opened(folder: Path, precision: str, batch_size: int) -> OpenVinoRuntime:
    """Give the runtime of a network that `OpenVinoRuntime.save` left in a folder.

    Args:
        folder: where it lies.
        precision: it was used in; fp32 takes the place of bf16 where the processor does not compute in it.
        batch_size: images a batch.
    """
    if precision == "bf16" and not computes_in_bf16():
        print("graft: this processor does not compute in bf16; the network runs in fp32", file=sys.stderr)
        precision = "fp32"
    return OpenVinoRuntime(folder, read_json(folder / RECORD), precision, batch_size)


def computes_in_bf16() -> bool:
    """Say whether this processor has instructions for bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(model: Any, batch_size: int, size_px: int, precision: str, num_streams: int) -> Any:
    model.reshape([batch_size, size_px, size_px, 3])
    hints = {
        "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
        "NUM_STREAMS": num_streams,
        "INFERENCE_NUM_THREADS": num_streams,
        "ENABLE_CPU_PINNING": False,  # decoding shares the processors
    }
    return openvino.Core().compile_model(model, "CPU", hints)


def _pooled(compiled: Any, num_streams: int) -> Compute:
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

    It fills its tables of types at first use, under a lock that does not let go of Python's own: two threads doing so
    at once may wait for each other for ever (seen with openvino 2026.4).
    """
    for tensor in (*request.input_tensors, *request.output_tensors):
        tensor.element_type.to_dtype()
        openvino.Tensor(tensor.data, shared_memory=True)


def _convert(weights: Weights, made_from: Mapping[str, Any], place: Path) -> None:
    """Convert a network, compare it with torch and keep both results, or why it cannot be converted."""
    print(f"extract: converting {weights.name} for OpenVINO, once", file=sys.stderr)
    import torch

    from stages.graft.backbone.network import load_backbone

    trunk = load_backbone(weights)
    probes = _probes(weights.preprocessing.crop_px)
    with atomic_path(place) as folder:
        folder.mkdir()
        error, cosine = None, {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the tracer: constants in a graph of fixed shape are meant
                model = openvino.convert_model(trunk, example_input=torch.from_numpy(probes[:2]))
            _name(model)
            _save(model, folder)
            with torch.inference_mode():
                expected = trunk(torch.from_numpy(probes)).float().numpy().reshape(NUM_PROBES, -1)
            cosine = {name: _cosine(model, name, probes, expected) for name in OPENVINO_PRECISIONS}
        except _UnwritableError:
            raise
        except Exception as problem:  # OpenVINO raises many kinds on what it cannot do
            error = " ".join(str(problem).split())[:200] or type(problem).__name__
        sha256 = None if error else {name: sha256_of(folder / name) for name in (NETWORK, TENSORS)}
        write_json({"made_from": made_from, "sha256": sha256, "cosine": cosine, "error": error}, folder / RECORD)


class _UnwritableError(GraftError):
    """It says something of the disk and nothing of the network: it is not kept."""


def _save(model: Any, folder: Path) -> None:
    """Write a converted network."""
    try:
        openvino.save_model(model, folder / NETWORK, compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO does not say why
        free = shutil.disk_usage(folder).free
        raise _UnwritableError(
            f"the converted network cannot be written to {folder.parent}, where {free / 1e6:.0f} MB are free "
            f"({error}); make room or move the folder with GRAFT_STORE, and run again"
        ) from None


def _name(model: Any) -> None:
    """Number the graph's parts: OpenVINO's own names count everything the process ever made."""
    model.set_friendly_name("network")
    for number, part in enumerate(model.get_ordered_ops()):
        part.set_friendly_name(f"part{number}")


def _cosine(model: Any, precision: str, probes: Batch, expected: Features) -> dict[str, float]:
    found = _pooled(_compile(model, len(probes), probes.shape[1], precision, 1), 1)(probes)
    if found.shape != expected.shape:
        raise DataError(f"features of shape {found.shape}, torch gives {expected.shape}")
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = np.nan_to_num((found * expected).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny))
    return {"mean": round(float(cosines.mean()), 6), "worst": round(float(cosines.min()), 6)}


def _agrees(cosine: Mapping[str, float]) -> bool:
    return cosine["mean"] >= MEAN_COSINE and cosine["worst"] >= WORST_COSINE


def _probes(size_px: int) -> Batch:
    """Pictures with structure at every scale, as photographs have: noise of 4, 8, 16, ... cells a side, added up."""
    rng = np.random.default_rng(0)
    total = np.zeros((NUM_PROBES, size_px, size_px, 3))
    cells = 4
    while cells < size_px:
        index = np.arange(size_px) * cells // size_px
        total += rng.normal(size=(NUM_PROBES, cells, cells, 3))[:, index][:, :, index] / np.log2(cells)
        cells *= 2
    return np.clip(128 + 50 * total, 0, 255).astype(np.uint8)
