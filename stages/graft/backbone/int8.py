"""Networks in int8: calibrated once by NNCF on some of the user's images, and kept in the store beside the others.

NNCF measures the range of every map on these images and rounds weights and maps to 256 levels. What is kept is a
network for OpenVINO, which runs without NNCF.

Source: Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018, section 3 (post-training
quantization with ranges for each channel of the weights and one for each map).
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.graft.backbone.int8_parts import has_attention, parts_in_float, read_graph
from stages.graft.backbone.openvino_conversion import (
    UnwritableError,
    converted_network,
    kept_network,
    name_parts,
    save_network,
)
from stages.graft.backbone.openvino_runtime import INT8, NETWORK, RECORD, TENSORS, OpenVinoRuntime
from stages.graft.backbone.precision_check import ImageSample
from stages.graft.backbone.quiet_openvino import openvino
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError, one_line
from stages.graft.images.crop import DECODER
from stages.graft.images.loading import read_batch
from stages.graft.storage.files import atomic_path
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.locks import shared_lock
from stages.graft.storage.sealed import write_sealed

FORMAT = 1
"""Version of how networks are turned into int8."""

NNCF_MISSING = (
    "`extract.precision` is int8, but NNCF, which calibrates the network, is not installed: `pip install nncf`, or set "
    "it to auto"
)


def prepare_int8(weights: Weights, batch_size: int, folder: Path, sample: ImageSample) -> OpenVinoRuntime | str:
    """Give a network's runtime in int8, or the reason why there is none; the network is calibrated once.

    Args:
        weights: the network's.
        batch_size: in images.
        folder: networks converted for OpenVINO, and those in int8, are in its subfolders.
        sample: images to calibrate on.
    Raises:
        ParamsError: the network is not calibrated yet, and NNCF is not installed.
        DataError: an image cannot be decoded; names its path.
    """
    converted, record = converted_network(weights, folder)
    if record["error"] is not None:
        return str(record["error"])
    images = {"ids": list(sample.ids), "decoder": DECODER}
    calibration = {"format": FORMAT, "sample": fingerprint_of(images), "num_images": len(sample.ids)}
    made_from = {**record["made_from"], INT8: calibration}
    make = partial(_calibrate, weights, converted, sample, made_from)
    calibrated, record = kept_network(made_from, folder, make, weights)
    if record["error"] is not None:
        return str(record["error"])
    runtime = OpenVinoRuntime(calibrated, record, INT8, batch_size)
    shared_lock(calibrated, runtime)
    return runtime


def _calibrate(
    weights: Weights, converted: Path, sample: ImageSample, made_from: Mapping[str, Any], target: Path
) -> None:
    """Turn a converted network into int8 and keep it, or the reason why that cannot be done."""
    if find_spec("nncf") is None:
        raise ParamsError(NNCF_MISSING)
    print(f"extract: calibrating {weights.name} for int8 on {len(sample.ids)} of the images, once", file=sys.stderr)
    locate = dict(zip(sample.ids, sample.locations, strict=True)).__getitem__
    images = [read_batch([id_], locate, weights.preprocessing, 1) for id_ in sample.ids]
    with atomic_path(target) as folder:
        folder.mkdir()
        record: dict[str, Any] = {"made_from": made_from, "cosine": {}, "error": None}
        try:
            version, model = _quantise(openvino.Core().read_model(converted / NETWORK), images)
            save_network(model, folder)
            # Another processor may calibrate to other last digits, so the network itself counts.
            record[INT8] = {**made_from[INT8], "nncf": version, "sha256": sha256_of(folder / TENSORS)}
        except UnwritableError:
            raise
        except Exception as problem:  # NNCF raises many kinds on what it cannot do
            record["error"] = one_line(problem)
        write_sealed(record, folder / RECORD, (NETWORK, TENSORS) if record["error"] is None else ())


def _quantise(model: Any, images: list[Any]) -> tuple[str, Any]:
    """Give NNCF's version and the network in int8, calibrated on batches of one image each."""
    with _quiet():
        import nncf

        graph = read_graph(model)
        quantised = nncf.quantize(
            model,
            nncf.Dataset(images),
            subset_size=len(images),
            fast_bias_correction=False,  # the slow one takes seconds more, and halves the difference of the features
            model_type=nncf.ModelType.TRANSFORMER if has_attention(graph) else None,
            ignored_scope=nncf.IgnoredScope(names=parts_in_float(graph), validate=False),
        )
    name_parts(quantised)
    return nncf.__version__, quantised


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what NNCF shows of its progress, and the warnings of what it imports."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
