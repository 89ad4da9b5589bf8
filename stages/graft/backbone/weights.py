"""Pretrained weights: the file, checked against its SHA-256, and the preprocessing and layers that go with it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from stages.graft.backbone.providers import provider_of
from stages.graft.backbone.torchvision_networks import DEFAULT
from stages.graft.core.errors import DataError, ParamsError, WeightsError
from stages.graft.core.params import Params
from stages.graft.images.preprocessing import (
    Fit,
    FitChoice,
    Lengths,
    Preprocessing,
    choose_fit,
    preprocessing_from,
    resized,
)
from stages.graft.storage.arrays import read_metadata
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import check_sha256, sha256_of

BUNDLED, RANDOM, FINETUNED, PENULTIMATE = "bundled", "random", "finetuned", "penultimate"


def _as_tuple(layer: Any) -> Any:
    """Turn one name into a tuple of one, so that a wrong value gives one error message."""
    return (layer,) if isinstance(layer, str) else tuple(layer) if isinstance(layer, list) else layer


Layers = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class BackboneParams(Params):
    """The section `backbone`: the pretrained network that computes the features."""

    name: str
    """A torchvision classification network, such as regnet_x_400mf, vgg19 or resnet50, or timm:<name>."""
    weights: str
    """bundled, a torchvision weights name (IMAGENET1K_V1, DEFAULT), a .safetensors or .pth file, or random."""
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    """Expected SHA-256 of a local weights file; null for other weights, whose SHA-256 is known."""
    input_px: int | None = Field(ge=32)
    """Side of the network's square input, in pixels; null for the size its weights were trained for."""
    fit: FitChoice = "crop"
    """How an image becomes that square: squash (all of it, sides scaled unequally), pad (all of it, with a border),
    crop (its middle square), or auto, as `choose_fit` says from the images' sizes."""
    layer: Annotated[Layers | None, BeforeValidator(_as_tuple)] = None
    """penultimate, a node of the network's graph, or several, concatenated; null for the layers in the weights' record,
    or else penultimate."""
    pooling: Literal["avg", "max", "avg+max", "avg+std"] | None = None
    """How a layer's maps are pooled; null for the pooling in the weights' record, or else avg."""
    offline: bool = False
    """Never open a connection."""


class OfflineParams(Params):
    """The value of the section `backbone` that matters when a record already names the weights."""

    model_config = ConfigDict(extra="ignore")

    offline: bool
    """Never open a connection."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A network's weights on this machine, and how features are computed with them."""

    name: str
    """The network, as in `BackboneParams`."""
    weights: str
    """As in `BackboneParams`, or finetuned."""
    sha256: str | None
    """SHA-256 of the file; None for random weights."""
    preprocessing: Preprocessing
    """How images are prepared."""
    layers: tuple[str, ...] = (PENULTIMATE,)
    """Layers whose outputs are the features: penultimate, or nodes of the network's graph, pooled and concatenated."""
    pooling: str = "avg"
    """How maps are pooled: avg, max, avg+max or avg+std (mean and standard deviation)."""
    views: int = 1
    """1, or 4: features are averaged over the image, its enlarged middle, and the mirror images of both."""
    path: Path | None
    """The file on this machine; None for random weights."""

    def to_record(self) -> dict[str, Any]:
        """Give everything that determines the features as JSON values, without paths of this machine.

        A single view is left out: records from before there were several stay valid.
        """
        record = asdict(self) | {"preprocessing": self.preprocessing.to_record()}
        return {name: value for name, value in record.items() if name != "path" and (name, value) != ("views", 1)}


def fit_to_sizes(params: BackboneParams, widths: Lengths, heights: Lengths) -> BackboneParams:
    """Give the parameters with the fit for images of these sizes, in pixels, in place of auto."""
    return params.model_copy(update={"fit": choose_fit(params.fit, widths, heights)})


def find_weights(params: BackboneParams, bundled: Path, white_level: float | None = None) -> Weights:
    """Find the weights that the parameters name, download them if necessary, and check their SHA-256.

    Networks that ship with the repository are in the folder `bundled`; `white_level` is as in `Preprocessing`.
    A fit that is still auto, where no sizes are known, is crop.

    Raises:
        WeightsError: the file is missing, damaged, a Git-LFS pointer or cannot be downloaded.
        ParamsError: no such network or weights name, or a local file without `backbone.sha256`.
    """
    path, sha256 = _find_file(params, bundled)
    record = graft_record(path)
    if "preprocessing" in record:
        preprocessing = preprocessing_from(record["preprocessing"])
    else:
        published = DEFAULT if params.weights == RANDOM or _is_local(params.weights) else params.weights
        preprocessing = provider_of(params.name).preprocessing(params.name, published)
    fit: Fit = "crop" if params.fit == "auto" else params.fit
    # The record's pooling is for its own layers; the network itself pools the penultimate features.
    pooling = "avg" if params.layer == (PENULTIMATE,) else record.get("pooling", "avg")
    return Weights(
        name=params.name,
        weights=params.weights,
        sha256=sha256,
        preprocessing=replace(resized(preprocessing, params.input_px), fit=fit, white_level=white_level),
        layers=params.layer or tuple(record.get("layers", [PENULTIMATE])),
        pooling=params.pooling or pooling,
        path=path,
    )


def weights_for(record: Mapping[str, Any], bundled: Path, offline: bool = False) -> Weights:
    """Find the weights of a record, as `Weights.to_record` gives it, on this machine.

    Networks that ship with the repository are in the folder `bundled`; `offline` never opens a connection.

    Raises:
        WeightsError: as in `find_weights`, or the file has another SHA-256 than the record.
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
    weights = find_weights(params, bundled)
    if weights.sha256 != record["sha256"]:
        raise WeightsError(
            f"{weights.path} has SHA-256 {weights.sha256}, the features were made with {record['sha256']}"
        )
    return replace(
        weights, preprocessing=preprocessing_from(record["preprocessing"]), views=int(record.get("views", 1))
    )


def weights_from_record(record: Mapping[str, Any], path: Path | None = None) -> Weights:
    """Read what `Weights.to_record` gave, without a look at the file, whose path on this machine is `path`."""
    fields = {"layers": tuple(record["layers"]), "preprocessing": preprocessing_from(record["preprocessing"])}
    return Weights(**dict(record) | fields | {"path": path})


def _is_local(weights: str) -> bool:
    return Path(weights).suffix in (".safetensors", ".pth", ".pt")


def _find_file(params: BackboneParams, bundled: Path) -> tuple[Path | None, str | None]:
    """Find the file and its checked SHA-256; None for random weights."""
    if params.weights == RANDOM:
        return None, None
    if params.weights == BUNDLED:
        return _find_bundled(params.name, bundled)
    if _is_local(params.weights):
        return _find_local(params)
    return provider_of(params.name).find_weights(params.name, params.weights, params.offline)


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


def graft_record(path: Path | None) -> dict[str, Any]:
    """Read the record in a file of weights that Graft wrote; empty for any other file."""
    if path is None or path.suffix != ".safetensors":
        return {}
    try:
        return read_metadata(path)
    except DataError as error:
        raise WeightsError(str(error)) from None
