"""The whole model as a graph in a file, for ONNX or OpenVINO, which is run without torch."""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from stages.graft.backbone.openvino_runtime import INT8, OpenVinoRuntime, computes_in_bf16, precision_hint
from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.core.errors import GraftError, ParamsError, one_line
from stages.graft.core.threads import num_cpus
from stages.graft.images.decode import Batch
from stages.graft.model.whole_model import INPUT, OUTPUTS, Answer, WholeModel
from stages.graft.storage.arrays import Array

Format = Literal["onnx", "openvino"]

FILES: Mapping[Format, str] = {"onnx": "1/model.onnx", "openvino": "1/model.xml"}
"""The file that is opened; OpenVINO's weights lie beside it. Model servers look for version 1 in the folder 1."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages for ONNX: the first two write the file, the last one runs it."""

Run = Callable[[Batch], Mapping[str, Array]]
"""From images (n, h, w, 3), uint8, to arrays named as the model's outputs."""


def check_packages(format_: Format) -> None:
    """Check that the packages that write and run a format are installed; a ParamsError names those that are not."""
    missing = [name for name in ONNX_PACKAGES if format_ == "onnx" and find_spec(name) is None]
    if missing:
        raise ParamsError(f"--format onnx needs {', '.join(missing)}; `pip install {' '.join(missing)}` brings it")


def write_graph(
    model: WholeModel,
    format_: Format,
    size_px: int,
    notes: Mapping[str, str],
    folder: Path,
    int8: OpenVinoRuntime | None = None,
) -> None:
    """Write the graph of a model on the CPU, for any number of square images at once, as FILES in a folder.

    Args:
        model: on the CPU.
        format_: a key of FILES.
        size_px: side of the images, in pixels.
        notes: metadata of the file.
        folder: where FILES are written.
        int8: the model's network in int8, to be taken in place of torch's; for OpenVINO alone.
    Raises:
        GraftError: the network cannot be written in that format.
    """
    example = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    (folder / FILES[format_]).parent.mkdir(exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracers: constants in a graph of fixed shape are intended
            if format_ == "onnx":
                _write_onnx(model, example, notes, folder / FILES[format_])
            else:
                _write_openvino(_openvino_graph(model, example, int8), model.outputs, notes, folder / FILES[format_])
    except Exception as error:  # both raise many kinds on what they cannot do
        raise GraftError(
            f"the network cannot be written as {format_}: {one_line(error)}; try another --format"
        ) from None


def precisions(format_: Format, is_int8: bool = False) -> tuple[str, ...]:
    """List the precisions in which a format runs on this processor; the first one is its default."""
    if is_int8:
        return (INT8,)
    return ("bf16", "fp32") if format_ == "openvino" and computes_in_bf16() else ("fp32",)


def open_graph(folder: Path, format_: Format, precision: str, batch_size: int | None = None) -> Run:
    """Load a graph that `write_graph` wrote on the CPU, in one of `precisions`, with all processors for one batch.

    `batch_size` is the only number of images allowed in a batch; None allows any.
    """
    path = folder / FILES[format_]
    return _open_onnx(path) if format_ == "onnx" else _open_openvino(path, precision, batch_size)


def _write_onnx(model: WholeModel, example: torch.Tensor, notes: Mapping[str, str], path: Path) -> None:
    program: Any = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=list(model.outputs),
        dynamic_shapes={INPUT: {0: torch.export.Dim("n", min=1, max=4096)}},  # any number of images
    )
    program.model.metadata_props.update(notes)
    program.save(path, external_data=False)


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_cpus()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def _openvino_graph(model: WholeModel, example: torch.Tensor, int8: OpenVinoRuntime | None) -> Any:
    """Convert a model, or put what follows its network behind the network in int8."""
    if int8 is None:
        graph = openvino.convert_model(model, example_input=example)
        graph.reshape([-1, *example.shape[1:]])
        return graph
    found = model.backbone(example)
    answer = openvino.convert_model(Answer(model), example_input=tuple(found) if model.num_layers else (found,))
    network = int8.read_with_maps() if model.num_layers else int8.read()
    network.reshape([-1, *example.shape[1:]])
    for parameter, output in zip(answer.get_parameters(), network.outputs, strict=True):
        for target in parameter.output(0).get_target_inputs():
            target.replace_source_output(output.get_node().input_value(0))
    return openvino.Model(answer.get_results(), network.get_parameters())


def _write_openvino(graph: Any, outputs: Iterable[str], notes: Mapping[str, str], path: Path) -> None:
    graph.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(graph.outputs, outputs, strict=True):
        output.get_tensor().set_names({name})
    graph.set_friendly_name("graft")
    for name, note in notes.items():
        graph.set_rt_info(note, ["graft", name])
    openvino.save_model(graph, path, compress_to_fp16=False)


def _open_openvino(path: Path, precision: str, batch_size: int | None) -> Run:
    core = openvino.Core()
    graph = core.read_model(path)
    if batch_size is not None:
        graph.reshape([batch_size, *list(graph.inputs[0].get_partial_shape())[1:]])
    hints = {"INFERENCE_PRECISION_HINT": precision_hint(precision), "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(graph, "CPU", hints)

    def compute(images: Batch) -> Mapping[str, Array]:
        results = compiled([images])
        return {output.any_name: np.array(value) for output, value in results.items()}

    return compute


def notes_of(classes: tuple[str, ...], outputs: Mapping[str, str] = OUTPUTS) -> dict[str, str]:
    """Give the metadata of the file, for readers who have only this file."""
    return {"classes": json.dumps(list(classes), ensure_ascii=False), "outputs": json.dumps(outputs)}
