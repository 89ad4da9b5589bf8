"""OpenVINO as a runtime: it runs a converted network on a CPU, several batches at once."""

import queue
import shutil
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.runtime import Compute
from stages.graft.core.errors import DataError
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import sha256_of

RECORD, NETWORK, TENSORS = "network.json", "network.xml", "network.bin"

OPENVINO_PRECISIONS = {"bf16": "bf16", "fp32": "f32"}
"""OpenVINO's names of the precisions."""


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
        return compile_network(
            model, self.record["batch_size"], self._size_px, self.record["precision"], self.num_streams
        )

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


def compile_network(model: Any, batch_size: int, size_px: int, precision: str, num_streams: int) -> Compute:
    """Compile a converted network for batches of one shape; `num_streams` batches are computed at once."""
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
