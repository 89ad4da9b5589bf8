"""torchvision's own weights: their names, their transforms, their download."""

import difflib
import hashlib
import http.client
import urllib.error
from pathlib import Path
from typing import Any

import torch
import torchvision

from stages.graft.errors import ParamsError, WeightsError
from stages.graft.networks import MEAN, STD
from stages.graft.preprocessing import Preprocessing


def fetch_weights(name: str, weights: str) -> tuple[Path, str]:
    """Give torchvision's weights file, downloaded with a progress bar unless it is there, and its SHA-256.

    The file name ends in the first digits of its SHA-256, which are checked on every call.

    Raises:
        ParamsError: no such network or weights name.
        WeightsError: the download failed, or the file is damaged.
    """
    url = _weights_enum(name, weights).url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    prefix = path.stem.rpartition("-")[2]
    if not path.exists():
        _download(url, path, prefix)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not sha256.startswith(prefix):
        raise WeightsError(f"{path} is damaged: its SHA-256 is {sha256}, expected {prefix}…; delete it and run again")
    return path, sha256


def preprocessing_of(name: str, weights: str) -> Preprocessing:
    """Give the evaluation transforms that torchvision publishes with its weights, or with the network's best ones."""
    enum = torchvision.models.get_model_weights(name) if name in torchvision.models.list_models() else None
    if enum is None or not len(enum):
        return Preprocessing(resize_px=256, crop_px=224, interpolation="bilinear", mean=MEAN, std=STD)
    transforms: Any = getattr(enum, weights, enum.DEFAULT).transforms()
    return Preprocessing(
        resize_px=transforms.resize_size[0],
        crop_px=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _weights_enum(name: str, weights: str) -> Any:
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names
        raise ParamsError(f"`backbone.name`: torchvision has no network {name!r}; nearest: {', '.join(near)}")
    enum = torchvision.models.get_model_weights(name)
    allowed = ["DEFAULT", *enum.__members__]
    if weights not in allowed:
        raise ParamsError(
            f"`backbone.weights` must be bundled, random, a .safetensors or .pth file, or for {name} "
            f"one of {', '.join(dict.fromkeys(allowed))}; got {weights!r}"
        )
    return getattr(enum, weights)


def _download(url: str, path: Path, prefix: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=True)
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # refused, cut short, of another hash
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{path.name} cannot be downloaded ({reason}); fetch it elsewhere and put it into {path.parent}, "
            "or set `backbone.weights: bundled`"
        ) from None
