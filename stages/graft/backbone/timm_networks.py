"""Networks of the optional library timm, named timm:<name>; torch and timm are imported when they are first needed."""

import difflib
import math
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.graft.backbone.torchvision_networks import ANSWER_SECONDS, DEFAULT
from stages.graft.core.errors import DataError, ParamsError, WeightsError, one_line
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.downloads import fetch_to, within
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.locks import mark_used, shared_lock
from stages.graft.storage.sealed import FILES, read_sealed, write_sealed

if TYPE_CHECKING:
    from torch import nn

PACKAGES: tuple[str, ...] = ("timm",)

_FILE = "model.safetensors"
"""Name of the weights' file in timm's repositories on its hub."""


def find_weights(name: str, weights: str, offline: bool) -> tuple[Path, str]:
    """See `Provider.find_weights`; `weights` is a tag of timm's, such as a1_in1k, or DEFAULT."""
    config = _config(name, weights)
    if not config.hf_hub_id:
        raise ParamsError(f"`backbone.weights`: timm has no file for {name}, {weights}; name a local file, or random")
    shared_lock(store_folder() / "weights", sys.modules[__name__])
    folder = store_folder() / "weights" / str(config.hf_hub_id).replace("/", "--")
    path, note = folder / _FILE, folder / "file.json"
    _adopt(note)
    if (found := read_sealed(note)) is not None:  # without the note, the download was interrupted and is checked again
        mark_used(note)
        return path, str(found[FILES][_FILE])
    if offline:
        raise _unavailable(name, folder, "`backbone.offline` is true")
    try:
        address, sha256 = _download(config.hf_hub_id, path)
    except Exception as error:  # the hub's client raises many kinds
        raise _unavailable(name, folder, one_line(error, 400)) from None
    write_sealed({"address": address, "sha256": sha256}, note, [_FILE])
    return path, sha256


def on_this_machine() -> list[tuple[str, str]]:
    """See `Provider.on_this_machine`: weights that were downloaded; none without the library."""
    if find_spec("timm") is None:
        return []
    folders = sorted(path.parent for path in (store_folder() / "weights").glob(f"*--*/{_FILE}"))
    return [
        (f"timm:{folder.name.partition('--')[2]}", DEFAULT) for folder in folders if (folder / "file.json").exists()
    ]


def preprocessing(name: str, weights: str) -> Preprocessing:
    """See `Provider.preprocessing`."""
    config = _config(name, weights)
    crop_px = int(config.input_size[-1])
    return Preprocessing(
        resize_px=math.floor(crop_px / config.crop_pct),
        crop_px=crop_px,
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        mean=tuple(config.mean),
        std=tuple(config.std),
    )


def build(name: str, num_classes: int) -> "nn.Module":
    """See `Provider.build`; a tag of pretrained weights in the name, after a dot, changes nothing."""
    network: nn.Module = _timm().create_model(_checked(name), pretrained=False, num_classes=num_classes)
    return network


def output_layer(network: Any) -> str:
    """See `Provider.output_layer`."""
    classifier = network.get_classifier()
    return str(next(name for name, module in network.named_modules() if module is classifier))


def cut_output(network: Any) -> "nn.Module":
    """See `Provider.cut_output`."""
    network.reset_classifier(0)
    cut: nn.Module = network
    return cut


def _adopt(note: Path) -> None:
    """Seal a note that an older version wrote, if the file has the SHA-256 in it: it need not be downloaded again."""
    if not (note.exists() and note.with_name(_FILE).exists()):
        return
    with suppress(DataError):
        record = read_json(note)
        if record.keys() == {"address", "sha256"} and sha256_of(note.with_name(_FILE)) == record["sha256"]:
            write_sealed(record, note, [_FILE])


def _download(repository: str, path: Path) -> tuple[str, str]:
    """Download weights and give their address and SHA-256, which must be the one that the hub states."""
    import huggingface_hub

    address = huggingface_hub.hf_hub_url(repository, _FILE)
    about = within(ANSWER_SECONDS, lambda: huggingface_hub.get_hf_file_metadata(address, timeout=ANSWER_SECONDS))

    def misfit(sha256: str) -> str | None:
        return None if sha256 == about.etag else f"its server says {about.etag}"

    return address, fetch_to(path, address, misfit, ANSWER_SECONDS, attempts=1)


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
        listed = ", ".join(f"timm:{model}" for model in near)
        raise ParamsError(f"`backbone.name`: timm has no network {bare!r}; nearest: {listed}")
    return bare


def _config(name: str, weights: str) -> Any:
    """Give timm's record of a network's pretrained weights or, if it has none, of the network alone."""
    timm, bare = _timm(), _checked(name)
    tagged = bare if weights == DEFAULT else f"{bare.partition('.')[0]}.{weights}"
    tags = [model.partition(".")[2] for model in timm.list_pretrained(f"{bare.partition('.')[0]}.*")]
    if "." in tagged and tagged.partition(".")[2] not in tags:
        raise ParamsError(f"`backbone.weights` must be DEFAULT or one of {', '.join(tags)}; got {weights!r}")
    return timm.get_pretrained_cfg(tagged)


def _unavailable(name: str, folder: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{_FILE} of {name} cannot be downloaded ({reason}); fetch it elsewhere, then name it in `backbone.weights` "
        f"and its hash in `backbone.sha256`; downloads go to {folder}"
    )
