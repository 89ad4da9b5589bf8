"""OpenVINO as a runtime: it runs a converted network on a CPU, several batches at once."""

import queue
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.runtime import Compute, ComputeMaps, Maps, without_maps
from stages.graft.core.errors import DataError, one_line
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.storage.feature_store import Features
from stages.graft.storage.files import read_json

RECORD, NETWORK, TENSORS = "network.json", "network.xml", "network.bin"

Run = Callable[[Batch], list[npt.NDArray[np.float32]]]
"""From images of one shape to each output of a network."""

MAPS = "maps"
"""Beginning of the names of the maps in a converted network; a number follows."""

OPENVINO_PRECISIONS = {"bf16": "bf16", "fp32": "f32"}
"""OpenVINO's names of the precisions."""

INT8 = "int8"
"""The precision of a network whose graph says itself what is computed in int8; the rest is in bf16 or fp32."""

MADE_WITH = frozenset({"preprocessing", "torch", "torchvision"})
"""What a record must say that a network was made from."""


class OpenVinoRuntime:
    """One converted network."""

    def __init__(self, folder: Path, network: Mapping[str, Any], precision: str, batch_size: int) -> None:
        """Describe the runtime of the converted network in a folder, uncompiled; `network` is the record beside it."""
        core, made_from = openvino.Core(), network["made_from"]
        self._folder = folder
        self._size_px = made_from["preprocessing"]["crop_px"]
        self.num_streams = num_cpus()
        self.record: dict[str, Any] = {
            "runtime": f"openvino {openvino.get_version()}",
            "converted_by": f"torch {made_from['torch']}, torchvision {made_from['torchvision']}",
            "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
            "capabilities": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            "precision": precision,
            "batch_size": batch_size,
        }
        if precision == INT8:
            self.record[INT8] = network[INT8]

    def load(self) -> Compute:
        """Read and compile the network once; its files were checked when it was opened.

        Raises:
            DataError: OpenVINO cannot run it.
        """
        return self._compute

    def load_maps(self) -> ComputeMaps:
        """Read and compile the network with its maps as outputs once; errors are those of `load` too."""
        return self._compute_maps

    @cached_property
    def _compute(self) -> Compute:
        run = self._compiled(self.read())
        return lambda images: run(images)[0].reshape(len(images), -1)

    @cached_property
    def _compute_maps(self) -> ComputeMaps:
        run = self._compiled(self.read_with_maps())

        def compute(images: Batch) -> tuple[Features, tuple[Maps, ...]]:
            features, *maps = run(images)
            return features.reshape(len(images), -1), tuple(some[: len(images)] for some in maps)

        return compute

    def read(self) -> Any:
        """Read the network's graph; raises a DataError if it is damaged."""
        with self._as_data_error():
            return openvino.Core().read_model(self._folder / NETWORK)

    def read_with_maps(self) -> Any:
        """Read the network's graph with its maps as outputs after the features; raises a ParamsError if it has none."""
        model = self.read()
        names = [name for tensor in _tensors(model) for name in tensor.get_names() if name.startswith(MAPS)]
        if not names:
            raise without_maps()
        model.add_outputs(sorted(names, key=lambda name: (len(name), name)))  # maps2 before maps10
        return model

    def _compiled(self, model: Any) -> Run:
        batch_size, precision = self.record["batch_size"], self.record["precision"]
        with self._as_data_error():
            return compile_network(model, batch_size, self._size_px, precision, self.num_streams)

    @contextmanager
    def _as_data_error(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # OpenVINO raises many kinds, and prints bytes of the file
            raise DataError(
                f"{self._folder / NETWORK} cannot be run by OpenVINO ({one_line(error)}); fetch the model again, or "
                "make it again with `dvc repro`"
            ) from None

    def save(self, folder: Path) -> None:
        """Copy the converted network."""
        folder.mkdir(exist_ok=True)
        for name in (RECORD, NETWORK, TENSORS):
            shutil.copyfile(self._folder / name, folder / name)


def _tensors(model: Any) -> Iterator[Any]:
    """Give the tensors between a network's parts."""
    return (output.get_tensor() for part in model.get_ordered_ops() for output in part.outputs())


def open_saved(folder: Path, precision: str, batch_size: int, size_px: int) -> OpenVinoRuntime:
    """Open the runtime that `OpenVinoRuntime.save` saved; fp32 replaces bf16 where the processor lacks it.

    Raises:
        DataError: the record of the converted network is damaged.
    """
    if precision == "bf16" and not computes_in_bf16():
        print("graft: this processor does not compute in bf16; the network runs in fp32", file=sys.stderr)
        precision = "fp32"
    network = read_json(folder / RECORD)
    made_from = network.get("made_from")
    is_calibrated = precision != INT8 or isinstance(network.get(INT8), dict)
    if not is_calibrated or not isinstance(made_from, dict) or not made_from.keys() >= MADE_WITH:
        raise DataError(f"{folder / RECORD} does not say what the network was made from; fetch the model again")
    network["made_from"] = made_from | {"preprocessing": {"crop_px": size_px}}
    return OpenVinoRuntime(folder, network, precision, batch_size)


def computes_in_bf16() -> bool:
    """Tell whether this processor has instructions for bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def precision_hint(precision: str) -> str:
    """Give OpenVINO's name of the precision in which it computes what a graph does not turn into int8 itself."""
    if precision == INT8:
        precision = "bf16" if computes_in_bf16() else "fp32"
    return OPENVINO_PRECISIONS[precision]


def compile_network(model: Any, batch_size: int, size_px: int, precision: str, num_streams: int) -> Run:
    """Compile a converted network for batches of one shape; `num_streams` batches are computed at once.

    In int8 each stream has a network of its own: compiled for several streams at once, OpenVINO shares their weights,
    and in int8 at times takes one layer's for another's (seen with openvino 2026.4, in half of all starts).
    """
    model.reshape([batch_size, size_px, size_px, 3])
    num_copies, num_shared = (num_streams, 1) if precision == INT8 else (1, num_streams)
    hints = {
        "INFERENCE_PRECISION_HINT": precision_hint(precision),
        "NUM_STREAMS": num_shared,
        "INFERENCE_NUM_THREADS": num_shared,
        "ENABLE_CPU_PINNING": False,  # decoding shares the processors
    }
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(num_copies):
        compiled = openvino.Core().compile_model(model, "CPU", hints)
        if (len(compiled.inputs), compiled.outputs[0].shape[0]) != (1, batch_size):
            raise DataError("it is no network from a batch of images to a batch of features")
        for _ in range(num_shared):
            request = compiled.create_infer_request()
            _fill_tables(request)
            requests.put(request)

    def run(images: Batch) -> list[npt.NDArray[np.float32]]:
        request = requests.get()
        try:
            return [np.array(output) for output in request.infer([images], share_inputs=True).values()]
        finally:
            requests.put(request)

    return run


def _fill_tables(request: Any) -> None:
    """Use OpenVINO's types in one thread first.

    OpenVINO fills its tables of types at first use, under a lock, without releasing Python's own lock: two threads that
    do so at once can deadlock (seen with openvino 2026.4).
    """
    for tensor in (*request.input_tensors, *request.output_tensors):
        tensor.element_type.to_dtype()
        openvino.Tensor(tensor.data, shared_memory=True)
