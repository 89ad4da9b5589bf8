"""A bundle: a folder with everything needed to classify images, without this repository's data or store.

bundle.json            records of the network, its runtime and the preprocessing, and every other file's SHA-256
model.json             classes and origin of the network
head.safetensors       the head
decision.json          temperature and thresholds of the decision rule
novelty.safetensors    the detector of out-of-distribution images
backbone.safetensors   the network's pretrained or fine-tuned weights, for torch and for exports
network/               the network converted for OpenVINO, if OpenVINO runs it
"""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import saved_runtime
from stages.graft.backbone.weights import Weights, weights_from_record
from stages.graft.core.errors import DataError
from stages.graft.heads.head import HEAD, Head, load_head
from stages.graft.images.crop import DECODER
from stages.graft.images.decode import MAX_PIXELS
from stages.graft.images.pixel_limit import DEFAULT_MEGAPIXELS, in_pixels
from stages.graft.model.decision import NOVELTY, RULE, DecisionRule, load_rule, save_rule
from stages.graft.model.model_folder import BACKBONE, MODEL
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, read_json, write_json, write_text
from stages.graft.storage.hashing import fingerprint_of, sha256_of

BUNDLE, NETWORK = "bundle.json", "network"

BUNDLE_FOLDER = Path("data/bundle")
"""The bundle's folder in a repository."""

FORMAT = 1
"""Version of the folder's layout."""

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
class Bundle:
    """The content of a bundle's folder."""

    head: Head
    """From features to logits."""
    rule: DecisionRule
    """Decides which images are unsure or out of distribution."""
    runtime: Runtime
    """Runs the network."""
    weights: Weights
    """The network's; their file is in the bundle."""
    max_pixels: int
    """Larger images are refused."""


def write_bundle(
    model: Path,
    rule: DecisionRule,
    weights: Weights,
    runtime: Runtime,
    folder: Path,
    max_megapixels: float = DEFAULT_MEGAPIXELS,
) -> None:
    """Write a bundle of the model in the folder `model`, with its network's weights; an existing folder is replaced."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name in (MODEL, HEAD):
            shutil.copyfile(model / name, temporary / name)
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


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle and check its files; the network is not loaded yet.

    Raises:
        DataError: it is no bundle, or a file is missing or damaged.
    """
    if not (folder / BUNDLE).is_file():
        raise DataError(f"{folder} holds no model: no {BUNDLE} in it; `dvc repro` makes data/bundle")
    record = read_json(folder / BUNDLE)
    if record.get("format") != FORMAT:
        raise DataError(f"{folder / BUNDLE} is of format {record.get('format')}, this version of Graft reads {FORMAT}")
    for name in (MODEL, HEAD, RULE, NOVELTY, BACKBONE, *record["sha256"]):
        path = folder / name
        if not path.is_file() or sha256_of(path) != record["sha256"].get(name):
            raise DataError(f"{path} is missing or damaged; fetch the model again, or make it again with `dvc repro`")
    weights = weights_from_record(record["backbone"], folder / BACKBONE)
    return Bundle(
        head=load_head(folder),
        rule=load_rule(folder),
        runtime=saved_runtime(folder / NETWORK, weights, record["runtime"]),
        weights=weights,
        max_pixels=_max_pixels(record),
    )


def _max_pixels(record: dict[str, Any]) -> int:
    """The limit of an image's size; a model that was made before there was one has the usual one."""
    megapixels = record.get("max_megapixels", DEFAULT_MEGAPIXELS)
    if not (isinstance(megapixels, int | float) and 0 < megapixels <= MAX_PIXELS / 1e6):
        raise DataError(f"{BUNDLE}: max_megapixels is {megapixels!r}, not a number up to {MAX_PIXELS / 1e6:.0f}")
    return in_pixels(megapixels)


def _copy_weights(weights: Weights, path: Path) -> None:
    """Write a network's weights, random ones too, as safetensors, so that a bundle never needs unpickling."""
    if weights.path is not None and weights.path.suffix == ".safetensors":
        shutil.copyfile(weights.path, path)
        return
    cached = store_folder() / "weights" / f"{fingerprint_of(weights.to_record())}.safetensors"
    digest = cached.with_suffix(".sha256")
    if not (cached.exists() and digest.exists() and sha256_of(cached) == digest.read_text(encoding="utf-8")):
        from stages.graft.backbone.network import load_network  # imports torch, which takes seconds
        from stages.graft.backbone.tensor_files import save_tensors

        save_tensors(load_network(weights), cached)
        write_text(sha256_of(cached), digest)
    shutil.copyfile(cached, path)


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
