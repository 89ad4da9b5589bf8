"""torchvision's own weights: where they are, their download, how images are prepared for them; torch at first use only.

What torchvision says of a network's weights is kept beside the store, so that a second start need not import it.
"""

import difflib
import os
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.graft.core.errors import ParamsError, WeightsError
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.downloads import DownloadError, fetch_to
from stages.graft.storage.files import write_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.locks import mark_used

DEFAULT = "DEFAULT"
"""torchvision's name of a network's best weights."""

ANSWER_SECONDS = 4.0
"""A server that has not begun to answer by then is taken for unreachable."""


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """What torchvision says of one set of weights."""

    url: str
    """Of the file, which is named after the first digits of its SHA-256."""
    megabytes: float
    """Size of the file."""
    preprocessing: Preprocessing
    """The evaluation transforms that go with them."""


_PUBLISHED = TypeAdapter(PublishedWeights)
"""Reads one back from JSON, types and all."""


def fetch_weights(name: str, weights: str, offline: bool = False) -> tuple[Path, str]:
    """Give torchvision's weights file, downloaded unless it is there, and its SHA-256, checked on every call.

    Args:
        name: of the network.
        weights: torchvision's name of the weights.
        offline: never open a connection.
    Raises:
        ParamsError: no such network or weights name.
        WeightsError: the file cannot be had, or is damaged.
    """
    published = published_weights(name, weights)
    path = checkpoints_folder() / published.url.rpartition("/")[2]
    prefix = path.stem.rpartition("-")[2]
    if path.exists():
        sha256 = sha256_of(path)
        if not sha256.startswith(prefix):
            raise WeightsError(
                f"{path} is damaged: its SHA-256 is {sha256}, expected {prefix}…; delete it and run again"
            )
        return path, sha256
    if offline:
        raise _unavailable(path, published, f"`backbone.offline` is true; it is at {published.url}")

    def misfit(found: str) -> str | None:
        return None if found.startswith(prefix) else f"expected {prefix}…; it is not kept"

    try:
        return path, fetch_to(path, published.url, misfit, ANSWER_SECONDS, attempts=1)
    except DownloadError as error:
        raise _unavailable(path, published, str(error)) from None


def published_preprocessing(name: str, weights: str = DEFAULT) -> Preprocessing:
    """Give the evaluation transforms that torchvision publishes with its weights.

    Raises:
        ParamsError: no such network or weights name.
    """
    return published_weights(name, weights).preprocessing


def published_weights(name: str, weights: str) -> PublishedWeights:
    """Ask torchvision once; from then on, the file beside the store.

    Raises:
        ParamsError: no such network or weights name.
    """
    # Names that cannot be a file's are no network's either; torchvision's message is the right one then.
    known = re.fullmatch(r"\w+", name) and re.fullmatch(r"\w+", weights)
    path = store_folder() / "weights" / f"{name}-{weights}-{version('torchvision')}.json"
    if known and path.exists():
        try:
            mark_used(path)
            return _PUBLISHED.validate_json(path.read_bytes())
        except (OSError, ValueError):
            pass  # damaged: asked anew
    published = _ask_torchvision(name, weights)
    write_json(asdict(published), path)
    return published


def checkpoints_folder() -> Path:
    """Where torch.hub keeps its downloads, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or Path(cache) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _unavailable(path: Path, published: PublishedWeights, reason: str) -> WeightsError:
    return WeightsError(
        f"{path.name} ({published.megabytes:.0f} MB) cannot be downloaded ({reason}); put it into {path.parent}, or "
        "name a local file in `backbone.weights` and its hash in `backbone.sha256`, or set `backbone.weights: bundled`"
    )


def _ask_torchvision(name: str, weights: str) -> PublishedWeights:
    import torchvision  # and torch with it: seconds

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names
        raise ParamsError(f"`backbone.name`: torchvision has no network {name!r}; nearest: {', '.join(near)}")
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
