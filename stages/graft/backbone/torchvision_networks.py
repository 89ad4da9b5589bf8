"""torchvision's networks and their published weights; torch is imported when it is first needed.

The facts that torchvision publishes about weights are kept in the store, so that a second start does not import it.
"""

import difflib
import json
import os
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from stages.graft.core.errors import ParamsError, WeightsError
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.downloads import DownloadError, fetch_to
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.locks import mark_used
from stages.graft.storage.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from torch import nn

PACKAGES: tuple[str, ...] = ()

DEFAULT = "DEFAULT"
"""torchvision's name of a network's best weights."""

ANSWER_SECONDS = 4.0
"""A server that has not begun to answer after this time counts as unreachable."""


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Facts that torchvision publishes about one set of weights."""

    url: str
    """Address of the file, whose name ends in the first digits of its SHA-256."""
    megabytes: float
    """Size of the file."""
    preprocessing: Preprocessing
    """The evaluation transforms."""


_PUBLISHED = TypeAdapter(PublishedWeights)
"""Reads PublishedWeights from JSON and checks every type."""


def find_weights(name: str, weights: str, offline: bool = False) -> tuple[Path, str]:
    """See `Provider.find_weights`. The file's SHA-256 is checked on every call."""
    published = published_weights(name, weights)
    path = checkpoints_folder() / published.url.rpartition("/")[2]
    prefix = path.stem.rpartition("-")[2]
    if path.exists():
        if not (sha256 := sha256_of(path)).startswith(prefix):
            raise WeightsError(
                f"{path} is damaged: its SHA-256 is {sha256}, expected {prefix}…; delete it and run again"
            )
        return path, sha256
    if offline:
        raise _unavailable(path, published, f"`backbone.offline` is true; it is at {published.url}")

    def misfit(sha256: str) -> str | None:
        return None if sha256.startswith(prefix) else f"expected {prefix}…; it is not kept"

    try:
        return path, fetch_to(path, published.url, misfit, ANSWER_SECONDS, attempts=1)
    except DownloadError as error:
        raise _unavailable(path, published, str(error)) from None


def on_this_machine() -> list[tuple[str, str]]:
    """See `Provider.on_this_machine`: weights that were downloaded; of two names of one file, the first."""
    found: dict[Path, tuple[str, str]] = {}
    end = f"-{version('torchvision')}.json"
    for note in sorted((store_folder() / "weights").glob(f"*{end}")):
        name, _, weights = note.name.removesuffix(end).rpartition("-")
        published = _read_note(note)
        path = published and checkpoints_folder() / published.url.rpartition("/")[2]
        if path and path.exists():
            found.setdefault(path, (name, weights))
    return list(found.values())


def preprocessing(name: str, weights: str = DEFAULT) -> Preprocessing:
    """See `Provider.preprocessing`."""
    return published_weights(name, weights).preprocessing


def build(name: str, num_classes: int) -> "nn.Module":
    """See `Provider.build`."""
    _check_name(name)
    import torchvision

    # The auxiliary outputs of GoogLeNet and Inception are used only in their own training.
    auxiliary = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **auxiliary)
    return network


def output_layer(network: "nn.Module") -> str:
    """See `Provider.output_layer`: the last linear layer or, in SqueezeNet, the last convolution."""
    from torch import nn

    for kind in (nn.Linear, nn.Conv2d):
        layers = [name for name, module in network.named_modules() if isinstance(module, kind)]
        if layers:
            return str(layers[-1])
    raise ValueError(f"{type(network).__name__} has no output layer")


def cut_output(network: "nn.Module") -> "nn.Module":
    """See `Provider.cut_output`.

    SqueezeNet ends in a convolution, a ReLU and an average; there the maps before the convolution are averaged.
    """
    from torch import nn

    name = output_layer(network)
    parent, _, child = name.rpartition(".")
    if isinstance(network.get_submodule(name), nn.Conv2d):
        network.set_submodule(parent, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    else:
        setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def published_weights(name: str, weights: str) -> PublishedWeights:
    """Read what torchvision publishes about weights, from the store if it was asked before.

    Raises:
        ParamsError: no such network or weights name.
    """
    # A name that cannot be a file's is no network's either; torchvision's message is the right one then.
    is_file_name = re.fullmatch(r"\w+", name) and re.fullmatch(r"\w+", weights)
    path = store_folder() / "weights" / f"{name}-{weights}-{version('torchvision')}.json"
    published = _read_note(path) if is_file_name else None
    if published is None:
        published = _ask_torchvision(name, weights)
        write_sealed(asdict(published), path)
    mark_used(path)
    return published


def _read_note(path: Path) -> PublishedWeights | None:
    """Read what was noted of weights; None when it is missing or damaged."""
    record = read_sealed(path)
    if record is None:
        return None
    fields = {name: record[name] for name in ("url", "megabytes", "preprocessing")}
    return _PUBLISHED.validate_json(json.dumps(fields))


def checkpoints_folder() -> Path:
    """Give the folder of torch.hub's downloads, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or Path(cache) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _unavailable(path: Path, published: PublishedWeights, reason: str) -> WeightsError:
    return WeightsError(
        f"{path.name} ({published.megabytes:.0f} MB) cannot be downloaded ({reason}); put it into {path.parent}, or "
        "name a local file in `backbone.weights` and its hash in `backbone.sha256`, or set `backbone.weights: bundled`"
    )


def _check_name(name: str) -> None:
    import torchvision  # and torch with it, which takes seconds

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names
        raise ParamsError(f"`backbone.name`: torchvision has no network {name!r}; nearest: {', '.join(near)}")


def _ask_torchvision(name: str, weights: str) -> PublishedWeights:
    _check_name(name)
    import torchvision

    enum = torchvision.models.get_model_weights(name)
    allowed = list(dict.fromkeys([DEFAULT, *enum.__members__]))
    if weights not in allowed:
        raise ParamsError(
            f"`backbone.weights` must be bundled, random, a .safetensors or .pth file, or for {name} "
            f"one of {', '.join(allowed)}; got {weights!r}"
        )
    member: Any = getattr(enum, weights)
    transforms = member.transforms()
    preprocessing = Preprocessing(
        resize_px=transforms.resize_size[0],
        crop_px=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
    return PublishedWeights(url=member.url, megabytes=float(member.meta["_file_size"]), preprocessing=preprocessing)
