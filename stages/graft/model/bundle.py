"""A bundle: a folder with all that is needed to classify images elsewhere, without this repository's data or store.

bundle.json            what the network is, what runs it, how images are prepared, and every other file's SHA-256
model.json             classes and the network's origin
head.safetensors       the head
decision.json          temperature and thresholds: when the model is unsure
novelty.safetensors    the detector of unknown images
backbone.safetensors   the network's weights, as they were pretrained or fine-tuned: for torch, and to export
network/               the network as OpenVINO runs it, if OpenVINO does
"""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import saved_runtime
from stages.graft.backbone.weights import Weights, weights_from_record
from stages.graft.core.errors import DataError
from stages.graft.heads.head import HEAD, Head
from stages.graft.images.crop import DECODER
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.decision import NOVELTY, RULE, DecisionRule, load_rule, save_rule
from stages.graft.model.model_folder import BACKBONE, MODEL, read_model
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, read_json, write_json, write_text
from stages.graft.storage.hashing import fingerprint_of, sha256_of

BUNDLE, NETWORK = "bundle.json", "network"

FORMAT = 1
"""Of the folder."""

LIBRARIES = ("numpy", "opencv-python-headless", "openvino", "pillow", "safetensors", "torch", "torchvision")
"""Whose versions are noted."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What a bundle's folder holds, ready to be run."""

    head: Head
    """Reads features."""
    rule: DecisionRule
    """Decides what is unsure and what is unknown."""
    preprocessing: Preprocessing
    """How images are prepared."""
    runtime: Runtime
    """Runs the network."""
    weights: Weights
    """The network's, their file in the bundle."""


def write_bundle(model: Path, rule: DecisionRule, weights: Weights, runtime: Runtime, folder: Path) -> None:
    """Assemble a bundle; a folder already there is replaced.

    Args:
        model: the model's folder.
        rule: fitted to validation.
        weights: the network's: the pretrained ones, or the fine-tuned.
        runtime: what runs it.
        folder: where the bundle goes.
    """
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
            "backbone": weights.record(),
            "runtime": dict(runtime.record),
            "decoder": DECODER,
            "versions": {name: version(name) for name in LIBRARIES},
            "sha256": {path.relative_to(temporary).as_posix(): sha256_of(path) for path in files},
        }
        write_json(record, temporary / BUNDLE)


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle; the network is loaded when it is first used.

    Raises:
        DataError: it is no bundle, or a file of it is missing or damaged.
    """
    if not (folder / BUNDLE).is_file():
        raise DataError(f"{folder} holds no model: no {BUNDLE} in it; `dvc repro` makes data/bundle")
    record = read_json(folder / BUNDLE)
    if record.get("format") != FORMAT:
        raise DataError(f"{folder / BUNDLE} is of format {record.get('format')}, this version of Graft reads {FORMAT}")
    for name in (MODEL, HEAD, RULE, NOVELTY, BACKBONE, *record["sha256"]):
        path = folder / name
        if not path.is_file() or sha256_of(path) != record["sha256"].get(name):
            raise DataError(f"{path} is missing or damaged; fetch the model again, or make it anew with `dvc repro`")
    _, head = read_model(folder, whole=False)
    weights = weights_from_record(record["backbone"], folder / BACKBONE)
    return Bundle(
        head=head,
        rule=load_rule(folder),
        preprocessing=weights.preprocessing,
        runtime=saved_runtime(folder / NETWORK, weights, record["runtime"]),
        weights=weights,
    )


def _copy_weights(weights: Weights, path: Path) -> None:
    """Write a network's weights, random ones too, as safetensors: nothing in a bundle is ever unpickled."""
    if weights.path is not None and weights.path.suffix == ".safetensors":
        shutil.copyfile(weights.path, path)
        return
    kept = store_folder() / "weights" / f"{fingerprint_of(weights.record())}.safetensors"
    proof = kept.with_suffix(".sha256")
    if not (kept.exists() and proof.exists() and sha256_of(kept) == proof.read_text(encoding="utf-8")):
        from stages.graft.backbone.network import load_network, save_tensors  # torch: seconds, spent once

        save_tensors(load_network(weights), kept)
        write_text(sha256_of(kept), proof)
    shutil.copyfile(kept, path)


BUNDLE_FOLDER = Path("data/bundle")
"""In a repository's root."""


def bundle_in(folder: Path, model: str | None = None) -> Path:
    """Find a folder's bundle: it is one, a repository with one, or an MLflow model around one.

    Args:
        folder: where to look.
        model: what the user called it.
    Raises:
        DataError: there is none.
    """
    for place in (folder, folder / BUNDLE_FOLDER, *sorted(folder.glob("*/"))):
        if (place / BUNDLE).is_file():
            return place
    raise DataError(
        f"--model {model or folder}: no {BUNDLE} there; `dvc repro` makes data/bundle, `dvc pull` fetches it"
    )
