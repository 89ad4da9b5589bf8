"""Pretrained weights: which file, proven by its SHA-256, and how images are prepared for it; torch where needed."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.graft.artifacts import read_json, read_metadata
from stages.graft.errors import DataError, ParamsError, WeightsError
from stages.graft.params import Params
from stages.graft.preprocessing import Preprocessing, preprocessing_from, resized

BUNDLED, RANDOM = "bundled", "random"


class BackboneParams(Params):
    """The section `backbone`: the pretrained network features come from."""

    name: str
    """A torchvision classification network, such as regnet_x_400mf, vgg19 or resnet50."""
    weights: str
    """bundled, a torchvision weights name (IMAGENET1K_V1, DEFAULT), a .safetensors or .pth file, or random."""
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    """Expected SHA-256 of a local weights file; null for all others, whose hash is known."""
    input_px: int | None = Field(ge=32)
    """Side of the square the network sees, in pixels; null for what its weights were made for."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a backbone's weights are and what they need; goes as a record into every file made with them."""

    name: str
    """The torchvision network."""
    weights: str
    """As in the parameters."""
    sha256: str | None
    """Of the file; None for random weights."""
    preprocessing: Preprocessing
    """How images are prepared."""
    layers: tuple[str, ...] = ("penultimate",)
    """Whose output the features are: penultimate, or inner nodes of the network, pooled and put side by side."""
    pooling: str = "avg"
    """avg, or avg+std: how a map becomes numbers."""
    path: Path | None
    """The file on this machine; None for random weights."""

    def record(self) -> dict[str, Any]:
        """What determines the network's output, without this machine's paths."""
        fields = asdict(self)
        del fields["path"]
        return fields


def find_weights(params: BackboneParams, bundled: Path) -> Weights:
    """Find the weights the parameters ask for, download them if need be, and prove their SHA-256.

    Args:
        params: the section `backbone`.
        bundled: the folder of the networks that ship with the repository.
    Raises:
        WeightsError: the file is missing, damaged, a Git-LFS pointer or cannot be fetched.
        ParamsError: no such network or weights name, or a local file without `backbone.sha256`.
    """
    if params.weights == BUNDLED:
        path, sha256 = _find_bundled(params.name, bundled)
    elif params.weights == RANDOM:
        path, sha256 = None, None
    elif Path(params.weights).suffix in (".safetensors", ".pth", ".pt"):
        path, sha256 = _find_local(params)
    else:
        from stages.graft.hub import fetch_weights

        path, sha256 = fetch_weights(params.name, params.weights)
    if path is not None and sha256 is not None:
        check_sha256(path, sha256)
    preprocessing = resized(_preprocessing(params, path), params.input_px)
    layers, pooling = _layers(path)
    return Weights(
        name=params.name,
        weights=params.weights,
        sha256=sha256,
        preprocessing=preprocessing,
        layers=layers,
        pooling=pooling,
        path=path,
    )


def weights_of(record: Mapping[str, Any], bundled: Path) -> Weights:
    """Find the weights a record was written with, on this machine.

    Raises:
        WeightsError: as in `find_weights`; also when the file found is another than the record's.
    """
    local = Path(record["weights"]).suffix in (".safetensors", ".pth", ".pt")
    params = BackboneParams(
        name=record["name"],
        weights=record["weights"],
        sha256=record["sha256"] if local else None,
        input_px=None,
    )
    found = find_weights(params, bundled)
    if found.sha256 != record["sha256"]:
        raise WeightsError(f"{found.path} has SHA-256 {found.sha256}, the features were made with {record['sha256']}")
    preprocessing = preprocessing_from(record["preprocessing"])
    return Weights(**{**found.__dict__, "preprocessing": preprocessing})


def check_sha256(path: Path, expected: str) -> None:
    """Read the whole file and compare.

    Raises:
        WeightsError: the file is missing, a Git-LFS pointer, or has another hash.
    """
    try:
        with path.open("rb") as file:
            pointer = file.read(64).startswith(b"version https://git-lfs")
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is missing; `git checkout -- {path}` brings back a file of the repository"
        ) from None
    if pointer:
        raise WeightsError(f"{path} is a Git-LFS pointer, not the weights; run `git lfs pull`")
    if found != expected:
        raise WeightsError(f"{path} is damaged or another file: SHA-256 {found}, expected {expected}; fetch it again")


def _find_bundled(name: str, bundled: Path) -> tuple[Path, str]:
    record = bundled / f"{name}.json"
    if not record.exists():
        names = ", ".join(sorted(path.stem for path in bundled.glob("*.json"))) or "none"
        raise ParamsError(
            f"`backbone.weights`: no bundled weights for {name!r} (bundled: {names}); "
            "use DEFAULT to have torchvision download its own, or name a local file"
        )
    return bundled / f"{name}.safetensors", str(read_json(record)["sha256"])


def _find_local(params: BackboneParams) -> tuple[Path, str]:
    path = Path(params.weights)
    if not path.is_file():
        raise WeightsError(f"`backbone.weights`: {path} does not exist")
    if params.sha256 is None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        raise ParamsError(f"`backbone.sha256` must be given for a local file; {path} has {found}, if you trust it")
    return path, params.sha256


def _layers(path: Path | None) -> tuple[tuple[str, ...], str]:
    """What a file of ours says its features are best taken from."""
    if path is None or path.suffix != ".safetensors":
        return ("penultimate",), "avg"
    record = read_metadata(path)
    return tuple(record.get("layers", ["penultimate"])), record.get("pooling", "avg")


def _preprocessing(params: BackboneParams, path: Path | None) -> Preprocessing:
    if path is not None and path.suffix == ".safetensors":
        try:
            record = read_metadata(path).get("preprocessing")
        except DataError as error:
            raise WeightsError(str(error)) from None
        if record is not None:
            return preprocessing_from(record)
    from stages.graft.hub import preprocessing_of

    return preprocessing_of(params.name, params.weights)
