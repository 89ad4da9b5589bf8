"""Pretrained weights: which file, proven by its SHA-256, and how images are prepared for it; torch where needed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stages.graft.backbone.torchvision_weights import DEFAULT, fetch_weights, published_preprocessing
from stages.graft.core.errors import DataError, ParamsError, WeightsError
from stages.graft.core.params import Params
from stages.graft.images.preprocessing import Preprocessing, preprocessing_from, resized
from stages.graft.storage.arrays import read_metadata
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import check_sha256, sha256_of

BUNDLED, RANDOM, FINETUNED, PENULTIMATE = "bundled", "random", "finetuned", "penultimate"

TIMM = "timm:"
"""Before the name of a network of the timm library."""


def _several(layer: Any) -> Any:
    """One name as a tuple of one, so that a wrong value is explained once."""
    return (layer,) if isinstance(layer, str) else tuple(layer) if isinstance(layer, list) else layer


Layers = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class BackboneParams(Params):
    """The section `backbone`: the pretrained network features come from."""

    name: str
    """A torchvision classification network, such as regnet_x_400mf, vgg19 or resnet50, or timm:<name>."""
    weights: str
    """bundled, a torchvision weights name (IMAGENET1K_V1, DEFAULT), a .safetensors or .pth file, or random."""
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    """Expected SHA-256 of a local weights file; null for all others, whose hash is known."""
    input_px: int | None = Field(ge=32)
    """Side of the square the network sees, in pixels; null for what its weights were made for."""
    layer: Annotated[Layers | None, BeforeValidator(_several)] = None
    """penultimate, a node of the network's graph, or several, side by side; null for what the weights' file says, else
    penultimate."""
    pooling: Literal["avg", "max", "avg+max", "avg+std"] | None = None
    """How a layer's maps become numbers; null for what the weights' file says, else avg."""
    offline: bool = False
    """Never open a connection."""


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
    layers: tuple[str, ...] = (PENULTIMATE,)
    """Whose output the features are: penultimate, or inner nodes of the network, pooled and put side by side."""
    pooling: str = "avg"
    """avg, max, avg+max or avg+std: how a map becomes numbers."""
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
    path, sha256 = _find_file(params, bundled)
    preprocessing = resized(_preprocessing(params, path), params.input_px)
    layers, pooling = _layers(params, path)
    return Weights(
        name=params.name,
        weights=params.weights,
        sha256=sha256,
        preprocessing=preprocessing,
        layers=layers,
        pooling=pooling,
        path=path,
    )


def weights_for(record: Mapping[str, Any], bundled: Path, offline: bool = False) -> Weights:
    """Find the weights a record was written with, on this machine.

    Args:
        record: of `Weights.record`.
        bundled: the folder of the networks that ship with the repository.
        offline: never open a connection.
    Raises:
        WeightsError: as in `find_weights`; also when the file found is another than the record's.
    """
    params = BackboneParams(
        name=record["name"],
        weights=record["weights"],
        sha256=record["sha256"] if _is_local(record["weights"]) else None,
        input_px=None,
        layer=tuple(record["layers"]),
        pooling=record["pooling"],
        offline=offline,
    )
    found = find_weights(params, bundled)
    if found.sha256 != record["sha256"]:
        raise WeightsError(f"{found.path} has SHA-256 {found.sha256}, the features were made with {record['sha256']}")
    preprocessing = preprocessing_from(record["preprocessing"])
    return Weights(**{**found.__dict__, "preprocessing": preprocessing})


def weights_from_record(record: Mapping[str, Any], path: Path | None = None) -> Weights:
    """Read back what `Weights.record` wrote; nothing is looked for or proven.

    Args:
        record: as written.
        path: the file on this machine.
    """
    fields = dict(record) | {"layers": tuple(record["layers"])}
    return Weights(**fields | {"preprocessing": preprocessing_from(record["preprocessing"]), "path": path})


def finetuned_weights(record: Mapping[str, Any], sha256: str, path: Path) -> Weights:
    """Describe a fine-tuned trunk's weights.

    Args:
        record: of the pretrained weights it began with.
        sha256: of the file.
        path: the trunk's tensors.
    """
    return weights_from_record({**record, "weights": FINETUNED, "sha256": sha256}, path)


def _is_local(weights: str) -> bool:
    return Path(weights).suffix in (".safetensors", ".pth", ".pt")


def _find_file(params: BackboneParams, bundled: Path) -> tuple[Path | None, str | None]:
    """The file and its proven SHA-256; None for random weights."""
    if params.weights == RANDOM:
        return None, None
    if params.weights == BUNDLED or _is_local(params.weights):
        return _find_bundled(params.name, bundled) if params.weights == BUNDLED else _find_local(params)
    if params.name.startswith(TIMM):
        from stages.graft.backbone.timm_networks import find_timm_weights

        return find_timm_weights(params.name, params.weights, params.offline)
    return fetch_weights(params.name, params.weights, params.offline)


def _find_bundled(name: str, bundled: Path) -> tuple[Path, str]:
    record = bundled / f"{name}.json"
    if not record.exists():
        names = ", ".join(sorted(path.stem for path in bundled.glob("*.json"))) or "none"
        raise ParamsError(
            f"`backbone.weights`: no bundled weights for {name!r} (bundled: {names}); "
            "use DEFAULT to have torchvision download its own, or name a local file"
        )
    path, sha256 = bundled / f"{name}.safetensors", str(read_json(record)["sha256"])
    if not path.exists():
        raise WeightsError(f"{path} is missing; `git checkout -- {path}` brings back a file of the repository")
    check_sha256(path, sha256, str(record), WeightsError)
    return path, sha256


def _find_local(params: BackboneParams) -> tuple[Path, str]:
    path = Path(params.weights)
    if not path.is_file():
        raise WeightsError(f"`backbone.weights`: {path} does not exist")
    if params.sha256 is None:
        raise ParamsError(
            f"`backbone.sha256` must be given for a local file; {path} has {sha256_of(path)}, if you trust it"
        )
    check_sha256(path, params.sha256, "`backbone.sha256`", WeightsError)
    return path, params.sha256


def _layers(params: BackboneParams, path: Path | None) -> tuple[tuple[str, ...], str]:
    """Which layers, and how pooled: as the parameters say, else as a file of ours says, else the penultimate one."""
    record = read_metadata(path) if path is not None and path.suffix == ".safetensors" else {}
    layers = params.layer or tuple(record.get("layers", [PENULTIMATE]))
    # How the file pools its blocks says nothing of penultimate features, which are pooled as the network does it.
    pooling = "avg" if params.layer == (PENULTIMATE,) else record.get("pooling", "avg")
    return layers, params.pooling or pooling


def _preprocessing(params: BackboneParams, path: Path | None) -> Preprocessing:
    if path is not None and path.suffix == ".safetensors":
        try:
            record = read_metadata(path).get("preprocessing")
        except DataError as error:
            raise WeightsError(str(error)) from None
        if record is not None:
            return preprocessing_from(record)
    published = params.weights if not _is_local(params.weights) and params.weights != RANDOM else DEFAULT
    if params.name.startswith(TIMM):
        from stages.graft.backbone.timm_networks import timm_preprocessing

        return timm_preprocessing(params.name, published)
    return published_preprocessing(params.name, published)
