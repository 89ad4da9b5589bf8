"""The maps of a network from which its features are made: they say what is where in an image, for heat maps.

Letters: n images, c channels of a layer, d features.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

from stages.graft.backbone.layers import PooledLayers, graph_nodes, pool_layers
from stages.graft.backbone.network import AveragedViews, NormalisedNetwork
from stages.graft.core.errors import ParamsError
from stages.graft.images.preprocessing import Preprocessing


class NetworkWithMaps(nn.Module):
    """A network that gives its features (n, d) and, for each of some layers, maps (n, c, h, w)."""

    def __init__(self, graph: fx.GraphModule, nodes: Sequence[tuple[str, tuple[int, ...]]], pooling: str) -> None:
        """Pool as `PooledLayers` the first of the two outputs that a graph has; the second are the maps."""
        super().__init__()
        self.extractor, self.nodes, self.pooling = graph, tuple(nodes), pooling  # a module's `graph` is torch's own

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute features and maps of images (n, 3, h, w)."""
        output, maps = self.extractor(x)
        return pool_layers(output, self.nodes, self.pooling), *maps


class MappedViews(AveragedViews):
    """Averaged views that give the maps of all views too; those of the images themselves come first."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Compute features (n, d) and maps (4 n, c, h, w) of images (n, size_px, size_px, 3), uint8."""
        features, *maps = self.backbone(self.views(images))
        return self.mean(features), *maps


def with_maps(backbone: NormalisedNetwork | AveragedViews, p: Preprocessing) -> nn.Module | None:
    """Give a backbone that gives maps too, with the same parameters; None for a network without maps.

    A layer's maps are those that it pools. A layer that gives rows, such as the penultimate one, has the last maps
    before it: in most networks, the rows are their averages.
    """
    network, images = _single(backbone).network, torch.zeros(2, 3, p.crop_px, p.crop_px)
    try:
        extractor = _extractor(network)
    except ParamsError:  # the network cannot be traced
        return None
    recorder = _Recorder(extractor)
    with torch.inference_mode():
        output = recorder.run(images)
    pooled, pooling = tuple((str(name), tuple[int, ...]()) for name in output), "avg"
    if isinstance(network, PooledLayers):
        pooled, pooling = network.nodes, network.pooling
    nodes = [_node_of_maps(extractor, recorder.found, name, axes) for name, axes in pooled]
    maps = list(dict.fromkeys(node for node in nodes if node is not None))
    if not maps:
        return None
    mapped = NormalisedNetwork(NetworkWithMaps(_with_outputs(extractor, maps), pooled, pooling), p)
    return (MappedViews(mapped, p.crop_px) if isinstance(backbone, AveragedViews) else mapped).eval()


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what every node gives."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.found[n] = super().run_node(n)
        return self.found[n]


def _single(backbone: NormalisedNetwork | AveragedViews) -> NormalisedNetwork:
    return backbone.backbone if isinstance(backbone, AveragedViews) else backbone


def _extractor(network: nn.Module) -> fx.GraphModule:
    """Give a network as a graph whose output is a dictionary by the names of nodes."""
    if isinstance(network, PooledLayers):
        return network.extractor
    extractor: fx.GraphModule = create_feature_extractor(network, graph_nodes(network)[-1:])
    return extractor


def _node_of_maps(graph: fx.GraphModule, found: dict[fx.Node, Any], name: str, axes: Sequence[int]) -> fx.Node | None:
    """Find the node of a layer's maps (n, c, h, w); None if it has none. `axes` are those that the layer pools."""
    node = next(node for node in graph.graph.nodes if node.op == "output").args[0][name]
    if axes:
        return node if tuple(axes) == (2, 3) else None
    before = (other for other in reversed(found) if other < node and _is_maps(found[other]))
    return next(before, None)


def _is_maps(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def _with_outputs(extractor: fx.GraphModule, maps: Sequence[fx.Node]) -> fx.GraphModule:
    """Copy a graph, with the same parameters, so that it gives its output and what these nodes give."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    output = graph.graph_copy(extractor.graph, copies)
    graph.output((output, tuple(copies[node] for node in maps)))
    return fx.GraphModule(extractor, graph)
