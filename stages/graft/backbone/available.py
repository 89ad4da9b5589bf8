"""The networks that can be used on this machine without a connection, and networks by their name in a command."""

from dataclasses import dataclass
from pathlib import Path

from stages.graft.backbone import torchvision_networks
from stages.graft.backbone.providers import PROVIDERS
from stages.graft.backbone.torchvision_networks import DEFAULT
from stages.graft.backbone.weights import BUNDLED


@dataclass(frozen=True, kw_only=True)
class NetworkName:
    """A network and its weights, as in the section `backbone`."""

    name: str
    """`backbone.name`."""
    weights: str
    """`backbone.weights`."""

    def __str__(self) -> str:
        return self.name if self.weights in (BUNDLED, DEFAULT) else f"{self.name}={self.weights}"


def find_available(bundled: Path) -> list[NetworkName]:
    """List the networks in the folder `bundled`, in installed packages and among downloaded files."""
    names = bundled_names(bundled)
    published = [
        pair for provider in (*PROVIDERS.values(), torchvision_networks) for pair in provider.on_this_machine()
    ]
    return [NetworkName(name=name, weights=BUNDLED) for name in names] + [
        NetworkName(name=name, weights=weights)
        for name, weights in published
        if name not in names  # the same weights, published
    ]


def parse_network(text: str, bundled: Path) -> NetworkName:
    """Read NAME or NAME=WEIGHTS; without weights, those in the folder `bundled`, or else DEFAULT."""
    name, mark, weights = text.partition("=")
    return NetworkName(name=name, weights=weights if mark else BUNDLED if name in bundled_names(bundled) else DEFAULT)


def bundled_names(bundled: Path) -> list[str]:
    """Name the networks in the folder `bundled`."""
    return sorted(path.stem for path in bundled.glob("*.json") if path.with_suffix(".safetensors").exists())
