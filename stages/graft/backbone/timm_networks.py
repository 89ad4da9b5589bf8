"""Networks of the timm library, named timm:<name>, when that optional library is installed."""

import difflib
import math
import sys
from pathlib import Path
from typing import Any

from torch import nn

from stages.graft.backbone.torchvision_weights import ANSWER_SECONDS, DEFAULT
from stages.graft.core.errors import ParamsError, WeightsError
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.downloads import DownloadError, fetch_to, within
from stages.graft.storage.files import read_json, write_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.locks import mark_used, shared_lock

_FILE = "model.safetensors"
"""What timm's repositories on its hub call their weights."""


def build_timm(name: str, num_classes: int) -> nn.Module:
    """Build a timm network with fresh weights from torch's global generator.

    Args:
        name: with timm: before it; a tag of pretrained weights after a dot changes nothing here.
        num_classes: of the output layer.
    Raises:
        ParamsError: timm is not installed, or has no such network.
    """
    timm = _timm()
    network: nn.Module = timm.create_model(_checked(name), pretrained=False, num_classes=num_classes)
    return network


def find_timm_weights(name: str, weights: str, offline: bool) -> tuple[Path, str]:
    """Give the file of a timm network's pretrained weights, downloaded unless it is there, and its SHA-256.

    Args:
        name: with timm: before it.
        weights: a tag of timm's, such as a1_in1k, or DEFAULT.
        offline: never open a connection.
    Raises:
        ParamsError: no such network or tag.
        WeightsError: the file cannot be had, or is damaged.
    """
    config = _config(name, weights)
    if not config.hf_hub_id:
        raise ParamsError(f"`backbone.weights`: timm has no file for {name}, {weights}; name a local file, or random")
    shared_lock(store_folder() / "weights", sys.modules[__name__])
    folder = store_folder() / "weights" / str(config.hf_hub_id).replace("/", "--")
    path = folder / _FILE
    if path.exists() and (folder / "file.json").exists():  # killed between the two, the download is looked at again
        expected = read_json(folder / "file.json")["sha256"]
        if sha256_of(path) != expected:
            raise WeightsError(f"{path} is damaged: its SHA-256 is not {expected}; delete it and run again")
        mark_used(folder / "file.json")
        return path, expected
    if offline:
        raise _unavailable(name, folder, "`backbone.offline` is true")
    import huggingface_hub

    address = huggingface_hub.hf_hub_url(config.hf_hub_id, _FILE)
    try:
        about = within(ANSWER_SECONDS, lambda: huggingface_hub.get_hf_file_metadata(address, timeout=ANSWER_SECONDS))
        misfit = f"its server says {about.etag}"
        sha256 = fetch_to(
            path, address, lambda found: None if found == about.etag else misfit, ANSWER_SECONDS, attempts=1
        )
    except DownloadError as error:
        raise _unavailable(name, folder, str(error)) from None
    except Exception as error:  # the hub's client raises many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _unavailable(name, folder, reason) from None
    write_json({"address": address, "sha256": sha256}, folder / "file.json")
    return path, sha256


def timm_preprocessing(name: str, weights: str) -> Preprocessing:
    """Give the evaluation transforms that timm states for a network's weights.

    Raises:
        ParamsError: timm is not installed, or has no such network or tag.
    """
    config = _config(name, weights)
    crop_px = int(config.input_size[-1])
    return Preprocessing(
        resize_px=math.floor(crop_px / config.crop_pct),
        crop_px=crop_px,
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        mean=tuple(config.mean),
        std=tuple(config.std),
    )


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise ParamsError("`backbone.name`: timm:<name> needs the library timm; run `pip install timm`") from None
    return timm


def _checked(name: str) -> str:
    timm, bare = _timm(), name.partition(":")[2]
    names = timm.list_models()
    if bare.partition(".")[0] not in names:
        near = difflib.get_close_matches(bare, names, n=5, cutoff=0.4) or names[:5]
        listed = ", ".join(f"timm:{one}" for one in near)
        raise ParamsError(f"`backbone.name`: timm has no network {bare!r}; nearest: {listed}")
    return bare


def _config(name: str, weights: str) -> Any:
    """timm's record of a network's pretrained weights; without any, of the network alone."""
    timm, bare = _timm(), _checked(name)
    tagged = bare if weights == DEFAULT else f"{bare.partition('.')[0]}.{weights}"
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{bare.partition('.')[0]}.*")]
    if "." in tagged and tagged.partition(".")[2] not in tags:
        raise ParamsError(f"`backbone.weights` must be DEFAULT or one of {', '.join(tags)}; got {weights!r}")
    return timm.get_pretrained_cfg(tagged)


def _unavailable(name: str, folder: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{_FILE} of {name} cannot be downloaded ({reason}); fetch it elsewhere, then name it in `backbone.weights` "
        f"and its hash in `backbone.sha256`; downloads go to {folder}"
    )
