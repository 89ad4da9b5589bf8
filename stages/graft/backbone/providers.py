"""Where networks come from, selected by a network's name: timm for `timm:<name>`, EfficientNet-Lite, else torchvision.

A provider is a module of this package. A new one needs its module and a line in `PROVIDERS`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stages.graft.backbone import efficientnet_lite_networks, timm_networks, torchvision_networks
from stages.graft.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn


class Provider(Protocol):
    """A library of pretrained networks; it imports torch and the library at the first call that needs them."""

    PACKAGES: tuple[str, ...]
    """Packages that its networks need beside torch and torchvision."""

    def find_weights(self, name: str, weights: str, offline: bool) -> tuple[Path, str]:
        """Give the file of published weights, downloaded if necessary unless `offline`, and its SHA-256.

        Raises:
            ParamsError: no such network or weights.
            WeightsError: the file is damaged or cannot be downloaded.
        """

    def on_this_machine(self) -> list[tuple[str, str]]:
        """List the published weights that need no connection: names of networks and of weights."""

    def preprocessing(self, name: str, weights: str) -> Preprocessing:
        """Give the evaluation transforms published with weights; raises a ParamsError if there are no such weights."""

    def build(self, name: str, num_classes: int) -> "nn.Module":
        """Build a classification network with fresh weights; raises a ParamsError if there is no such network."""

    def output_layer(self, network: "nn.Module") -> str:
        """Name the layer that turns penultimate features into class scores."""

    def cut_output(self, network: "nn.Module") -> "nn.Module":
        """Remove the output layer, in place: the network then gives penultimate features, shape (n, d)."""


PROVIDERS: Mapping[str, Provider] = {"timm:": timm_networks, "efficientnet_lite": efficientnet_lite_networks}
"""By the prefix of a network's name."""


def provider_of(name: str) -> Provider:
    """Select the provider by a network's name."""
    return next((provider for prefix, provider in PROVIDERS.items() if name.startswith(prefix)), torchvision_networks)
