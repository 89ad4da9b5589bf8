"""A bundle: a folder with everything needed to classify images, without this repository's data or store.

bundle.json            records of the network, its runtime and the preprocessing, and every other file's SHA-256
model.json             classes and origin of the network
head.safetensors       the head
decision.json          temperature and thresholds of the decision rule
novelty.safetensors    the detector of out-of-distribution images
evidence.safetensors   what turns the network's maps into heat maps
backbone.safetensors   the network's pretrained or fine-tuned weights, for torch and for exports
network/               the network converted for OpenVINO, if OpenVINO runs it; in int8 if the runtime's record says so
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter

from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import MAX_BATCH, saved_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError, printable
from stages.graft.heads.head import HEAD, Head, load_head
from stages.graft.images.crop import DECODER
from stages.graft.images.decode import MAX_PIXELS
from stages.graft.images.pixel_limit import DEFAULT_MEGAPIXELS, in_pixels
from stages.graft.model.decision import NOVELTY, RULE, DecisionRule, load_rule, save_rule
from stages.graft.model.heat_map import EVIDENCE, NO_EVIDENCE, Evidence, load_evidence
from stages.graft.model.model_folder import BACKBONE, MODEL
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, read_json, write_json
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.records import parse_record
from stages.graft.storage.sealed import find_named, write_named

BUNDLE, NETWORK = "bundle.json", "network"

BUNDLE_FOLDER = Path("data/bundle")
"""The bundle's folder in a repository."""

FORMAT = 2
"""Version of the folder's layout."""

WITHOUT_MAPS = 1
"""Version before heat maps, which is still read."""

MAX_PX, MAX_BATCH_BYTES = 8192, 2**31
"""Largest side of an image that a network takes, in pixels, and largest size of a batch of images."""

MAX_NAME = 200
"""Characters in the name of a bundle's file."""

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "safetensors",
    "simplejpeg",
    "torch",
    "torchvision",
)
"""Libraries whose versions are recorded."""


@dataclass(frozen=True, kw_only=True)
class _RuntimeRecord:
    """The fields of a runtime's record with which it is opened again."""

    runtime: str
    precision: Literal["bf16", "fp32", "int8"]
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)]


def _in_range(weights: Weights) -> Weights:
    """Check the numbers of a network's preprocessing."""
    p = weights.preprocessing
    if not (1 <= p.crop_px <= MAX_PX and 1 <= p.resize_px <= MAX_PX) or weights.views not in (1, 4):
        raise ValueError(f"sizes must be from 1 to {MAX_PX} pixels, and views 1 or 4")
    if not (np.isfinite([*p.mean, *p.std]).all() and min(p.std) > 0) or not (
        p.white_level is None or p.white_level > 0
    ):
        raise ValueError("mean, std and white level must be finite numbers, the last two above 0")
    return weights


@dataclass(frozen=True, kw_only=True)
class _BundleRecord:
    """The content of bundle.json, as far as it is read."""

    backbone: Annotated[Weights, AfterValidator(_in_range)]
    runtime: _RuntimeRecord
    sha256: Mapping[str, str]
    max_megapixels: Annotated[float, Field(gt=0, le=MAX_PIXELS / 1e6)] = DEFAULT_MEGAPIXELS


_RECORD = TypeAdapter(_BundleRecord)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The content of a bundle's folder."""

    head: Head
    """From features to logits."""
    rule: DecisionRule
    """Decides which images are unsure or out of distribution."""
    evidence: Evidence
    """Turns the network's maps into heat maps."""
    runtime: Runtime
    """Runs the network."""
    weights: Weights
    """The network's; their file is in the bundle."""
    max_pixels: int
    """Larger images are refused."""


def write_bundle(
    parts: Sequence[Path],
    rule: DecisionRule,
    weights: Weights,
    runtime: Runtime,
    folder: Path,
    max_megapixels: float = DEFAULT_MEGAPIXELS,
) -> None:
    """Write a bundle of a model, with its network's weights; an existing folder is replaced.

    `parts` are the folders of the model and of its evidence.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name in (MODEL, HEAD, EVIDENCE):
            shutil.copyfile(next(part / name for part in parts if (part / name).is_file()), temporary / name)
        save_rule(rule, temporary)
        _copy_weights(weights, temporary / BACKBONE)
        runtime.save(temporary / NETWORK)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        record = {
            "format": FORMAT,
            "backbone": weights.to_record(),
            "runtime": dict(runtime.record),
            "decoder": DECODER,
            "max_megapixels": max_megapixels,
            "versions": {name: version(name) for name in LIBRARIES},
            "sha256": {path.relative_to(temporary).as_posix(): sha256_of(path) for path in files},
        }
        write_json(record, temporary / BUNDLE)


def load_bundle(folder: Path, batch_size: int | None = None) -> Bundle:
    """Open a bundle and check its files; the network is not loaded yet, and takes batches of `batch_size` images.

    Raises:
        DataError: it is no bundle, or a file is missing or damaged.
    """
    if not (folder / BUNDLE).is_file():
        raise DataError(f"{folder} holds no model: no {BUNDLE} in it; `dvc repro` makes data/bundle")
    content = read_json(folder / BUNDLE)
    if (number := content.get("format")) not in (WITHOUT_MAPS, FORMAT):
        raise DataError(
            f"{folder / BUNDLE} is of format {number}, this version of Graft reads {WITHOUT_MAPS} and {FORMAT}"
        )
    has_evidence = number == FORMAT
    if isinstance(content.get("backbone"), dict):
        content["backbone"]["path"] = None  # of this machine, so not in the file
    record = parse_record(content, _RECORD, folder / BUNDLE)
    num_bytes = record.runtime.batch_size * record.backbone.preprocessing.crop_px**2 * 3
    if num_bytes > MAX_BATCH_BYTES:
        raise DataError(
            f"{folder / BUNDLE}: a batch takes {num_bytes / 1e9:.0f} GB; make the model again with a smaller "
            "`extract.batch_size`"
        )
    _check_files(folder, record.sha256, (EVIDENCE,) if has_evidence else ())
    weights = replace(record.backbone, path=folder / BACKBONE)
    changes = {} if batch_size is None else {"batch_size": batch_size}
    head, rule = load_head(folder), load_rule(folder)
    evidence = load_evidence(folder) if has_evidence else NO_EVIDENCE
    _check_fit(head, rule, evidence, folder)
    return Bundle(
        head=head,
        rule=rule,
        evidence=evidence,
        runtime=saved_runtime(folder / NETWORK, weights, asdict(record.runtime) | changes),
        weights=weights,
        max_pixels=in_pixels(record.max_megapixels),
    )


def _check_files(folder: Path, sha256: Mapping[str, str], others: Sequence[str]) -> None:
    """Check the files of a bundle, and others, against the list in it, which may name more."""
    for name in (MODEL, HEAD, RULE, NOVELTY, BACKBONE, *others, *sha256):
        path = folder / name
        if len(name) > MAX_NAME or not path.is_file() or sha256_of(path) != sha256.get(name):
            shown = printable(str(path)[:MAX_NAME])
            raise DataError(f"{shown} is missing or damaged; fetch the model again, or make it again with `dvc repro`")


def _check_fit(head: Head, rule: DecisionRule, evidence: Evidence, folder: Path) -> None:
    """Check that head, rule and evidence know the same classes, and that the first two read as many features."""
    if any(len(weight) != len(head.classes) for weight in evidence.weights):
        raise DataError(f"{folder}: {HEAD} and {EVIDENCE} are of two models; fetch the model again")
    if head.classes != rule.classes or head.num_features != rule.detector.num_features:
        raise DataError(
            f"{folder}: {HEAD} ({len(head.classes)} classes of {head.num_features} features) and {RULE} "
            f"({len(rule.classes)} of {rule.detector.num_features}) are of two models; fetch the model again"
        )


def _copy_weights(weights: Weights, path: Path) -> None:
    """Write a network's weights, random ones too, as safetensors, so that a bundle never needs unpickling."""
    if weights.path is not None and weights.path.suffix == ".safetensors":
        shutil.copyfile(weights.path, path)
        return
    cached = store_folder() / "weights" / f"{fingerprint_of(weights.to_record())}.safetensors"
    found = find_named(cached)
    if found is None:
        from stages.graft.backbone.network import load_network  # imports torch, which takes seconds
        from stages.graft.backbone.tensor_files import save_tensors

        found = write_named(cached, partial(save_tensors, load_network(weights)))
    shutil.copyfile(found, path)


def bundle_in(folder: Path, model: str | None = None) -> Path:
    """Find the bundle in a folder: the folder itself, a repository with one, or an MLflow model with one.

    `model` is the user's name for it, for the error message.

    Raises:
        DataError: there is no bundle.
    """
    for candidate in (folder, folder / BUNDLE_FOLDER, *sorted(folder.glob("*/"))):
        if (candidate / BUNDLE).is_file():
            return candidate
    raise DataError(
        f"--model {model or folder}: no {BUNDLE} there; `dvc repro` makes data/bundle, `dvc pull` fetches it"
    )
