"""Conversion of a network for OpenVINO: done once, compared with torch, and kept in the store."""

import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.graft.backbone.openvino_runtime import (
    MAPS,
    NETWORK,
    OPENVINO_PRECISIONS,
    RECORD,
    TENSORS,
    OpenVinoRuntime,
    compile_network,
    computes_in_bf16,
)
from stages.graft.backbone.precision_check import agrees, cosines
from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.runtime import Precision
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import GraftError, one_line
from stages.graft.images.decode import Batch
from stages.graft.storage.files import atomic_path, read_json
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.locks import exclusive_lock, mark_used, shared_lock
from stages.graft.storage.sealed import read_sealed, sealed_problem, write_sealed

FORMAT = 4
"""Version of the converted network's files."""

NUM_PROBES = 8
"""Drawn images on which OpenVINO's features are compared with torch's."""


def prepare(weights: Weights, precision: Precision, batch_size: int, folder: Path) -> OpenVinoRuntime | str:
    """Give a network's runtime, or the reason why OpenVINO cannot run it; the network is converted once.

    Precision auto is bf16 where the processor supports it and the features agree with torch's, else fp32. Converted
    networks are in subfolders of `folder`.
    """
    converted, record = converted_network(weights, folder)
    if record["error"] is not None:
        return str(record["error"])
    if precision == "auto":
        cosine = record["cosine"]
        candidates: list[Precision] = ["bf16", "fp32"] if computes_in_bf16() else ["fp32"]
        agreeing = [name for name in candidates if agrees(cosine[name])]
        if not agreeing:
            return f"cosine to torch's features {cosine['fp32']['worst']:.4f} at worst"
        if agreeing[0] != candidates[0]:
            reason = f"in bf16 its features differ (cosine {cosine['bf16']['worst']:.4f})"
            print(f"extract: {weights.name} runs in fp32: {reason}", file=sys.stderr)
        precision = agreeing[0]
    runtime = OpenVinoRuntime(converted, record, precision, batch_size)
    shared_lock(converted, runtime)
    return runtime


def converted_network(weights: Weights, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Give the folder of the converted network and its record, which may say why it cannot be converted."""
    made_from = {
        "format": FORMAT,
        **weights.to_record(),
        "openvino": openvino.get_version(),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }
    return kept_network(made_from, folder, partial(_convert, weights, made_from), weights)


def kept_network(
    made_from: Mapping[str, Any], folder: Path, make: Callable[[Path], None], holder: object
) -> tuple[Path, dict[str, Any]]:
    """Give the folder of a network in the store, and its record; it is made if it is missing or damaged.

    Args:
        made_from: all that determines the network.
        folder: networks are in its subfolders.
        make: writes the network and its record to the folder that it is given.
        holder: as long as it lives, the network stays in the store.
    """
    kept = folder / fingerprint_of(made_from)
    shared_lock(kept, holder)
    record = read_sealed(kept / RECORD)
    if record is None:
        with exclusive_lock(kept):
            if sealed_problem(kept / RECORD):  # else another process has made it meanwhile
                make(kept)
        record = read_json(kept / RECORD)
    mark_used(kept / RECORD)
    return kept, record


def _convert(weights: Weights, made_from: Mapping[str, Any], target: Path) -> None:
    """Convert a network, compare it with torch and keep both results, or the reason why it cannot be converted."""
    print(f"extract: converting {weights.name} for OpenVINO, once", file=sys.stderr)
    from stages.graft.backbone.feature_maps import with_maps
    from stages.graft.backbone.network import load_averaged

    backbone, size_px = load_averaged(weights), weights.preprocessing.crop_px
    with atomic_path(target) as folder:
        folder.mkdir()
        record: dict[str, Any] = {"made_from": made_from, "cosine": {}, "error": None}
        try:
            model = _to_openvino(with_maps(backbone, weights.preprocessing) or backbone, size_px)
            save_network(model, folder)
            record["cosine"] = _compare(model, backbone, _probes(size_px))
        except UnwritableError:
            raise
        except Exception as problem:  # OpenVINO raises many kinds on what it cannot do
            record["error"] = one_line(problem)
        write_sealed(record, folder / RECORD, (NETWORK, TENSORS) if record["error"] is None else ())


def _to_openvino(backbone: Any, size_px: int) -> Any:
    """Convert a backbone, which may give maps too.

    The features stay the only output. The maps have names, by which they become outputs when asked for.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: constants in a graph of fixed shape are intended
        example = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
        model = openvino.convert_model(backbone, example_input=example)
    for number, result in enumerate(model.get_results()[1:]):
        result.input_value(0).get_tensor().set_names({f"{MAPS}{number}"})
        model.remove_result(result)
    name_parts(model)
    return model


def name_parts(model: Any) -> None:
    """Number a network's parts: OpenVINO's own names depend on what the process converted before."""
    model.set_friendly_name("network")
    for number, part in enumerate(model.get_ordered_ops()):
        part.set_friendly_name(f"part{number}")


def _compare(model: Any, backbone: Any, probes: Batch) -> dict[str, dict[str, float]]:
    """Give the cosine of a converted network's features to torch's, in each precision."""
    import torch

    with torch.inference_mode():
        expected = backbone(torch.from_numpy(probes)).float().numpy().reshape(NUM_PROBES, -1)
    size_px = probes.shape[1]
    compiled = {name: compile_network(model, NUM_PROBES, size_px, name, num_streams=1) for name in OPENVINO_PRECISIONS}
    return {name: cosines(run(probes)[0].reshape(NUM_PROBES, -1), expected) for name, run in compiled.items()}


class UnwritableError(GraftError):
    """The converted network cannot be written; unlike other errors, this one is not kept."""


def save_network(model: Any, folder: Path) -> None:
    """Write a network to a folder of the store that is being made; raises an UnwritableError when there is no room."""
    try:
        openvino.save_model(model, folder / NETWORK, compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO does not say why
        free = shutil.disk_usage(folder).free
        raise UnwritableError(
            f"the converted network cannot be written to {folder.parent}, where {free / 1e6:.0f} MB are free "
            f"({error}); make room or move the folder with GRAFT_STORE, and run again"
        ) from None


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
