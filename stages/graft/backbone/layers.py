"""Features from any layer of a network: the penultimate one, or nodes of its graph, pooled and concatenated."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from stages.graft.backbone.providers import provider_of
from stages.graft.backbone.weights import PENULTIMATE, Weights
from stages.graft.core.errors import ParamsError, one_line

STD_FLOOR = 1e-3
"""Keeps the gradient of the standard deviation finite where a map is constant."""

_SIZES_PX = (224, 256)
"""Two input sizes, in pixels: the axis whose length is the same for both holds the channels."""


def feature_network(network: nn.Module, weights: Weights) -> nn.Module:
    """Turn a classification network into one that gives features, shape (n, d).

    Maps (n, c, h, w), with their axes in any order, are pooled over h and w; tokens (n, t, c) over t; rows (n, c) stay
    as they are.

    Args:
        network: in evaluation mode; changed in place when the features are the penultimate ones alone.
        weights: gives the network's name, the layers and the pooling. A layer is `penultimate`, a node of the graph as
            torchvision's feature extraction names it, or a module, which stands for its last node.
    Raises:
        ParamsError: the network has no such node, or the node gives no features.
    """
    if weights.layers == (PENULTIMATE,):
        return provider_of(weights.name).cut_output(network)
    names = graph_nodes(network)
    output = provider_of(weights.name).output_layer(network)
    nodes = [_resolve(layer, network, names, output) for layer in weights.layers]
    extractor = create_feature_extractor(network, list(dict.fromkeys(nodes)))
    small, large = (_shapes(extractor, size_px) for size_px in _SIZES_PX)
    pooled = []
    for layer, node in zip(weights.layers, nodes, strict=True):
        if (axes := pooled_axes(small.get(node), large.get(node))) is None:
            raise ParamsError(f"`backbone.layer`: {layer!r} of {type(network).__name__} gives no features to pool")
        pooled.append((node, axes))
    return PooledLayers(extractor, pooled, weights.pooling)


def graph_nodes(network: nn.Module) -> list[str]:
    """Name the nodes of a network's graph in evaluation mode, in order of computation.

    Raises:
        ParamsError: the network cannot be traced.
    """
    try:
        return list(get_graph_node_names(network)[1])
    except Exception as error:  # the tracer raises many kinds on control flow it cannot follow
        raise ParamsError(
            f"`backbone.layer`: {type(network).__name__} cannot be traced ({one_line(error)}); "
            "only penultimate is possible"
        ) from None


def pooled_axes(shape: tuple[int, ...] | None, larger: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Find the axes to pool over: none for rows; None when the node gives no features.

    Args:
        shape: shape of a node's output; None if it is no tensor.
        larger: shape of its output for a larger input.
    """
    match shape:
        case (_, _):
            return ()
        case (_, _, _):
            return (1,)
        case (_, *lengths) if len(lengths) == 3:
            fixed = [axis for axis in (1, 2, 3) if larger and len(larger) == 4 and larger[axis] == shape[axis]]
            channels = fixed[0] if len(fixed) == 1 else 1  # torch's usual order
            return tuple(axis for axis in (1, 2, 3) if axis != channels)
        case _:
            return None


class PooledLayers(nn.Module):
    """Maps of several layers, each pooled to one or two numbers per channel."""

    extractor: fx.GraphModule
    """From images to the layers' outputs, by the names of nodes."""
    nodes: tuple[tuple[str, tuple[int, ...]], ...]
    """Names of the nodes, and the axes that are pooled."""
    pooling: str
    """How maps become numbers."""

    def __init__(self, extractor: fx.GraphModule, nodes: Sequence[tuple[str, tuple[int, ...]]], pooling: str) -> None:
        """Pool the maps that an extractor gives by node: of each of the nodes, in order, over its axes."""
        super().__init__()
        self.extractor, self.nodes, self.pooling = extractor, tuple(nodes), pooling

    def forward(self, x: Tensor) -> Tensor:
        """Compute features (n, d) of images (n, 3, h, w)."""
        return pool_layers(self.extractor(x), self.nodes, self.pooling)


def pool_layers(maps: Mapping[str, Tensor], nodes: Sequence[tuple[str, tuple[int, ...]]], pooling: str) -> Tensor:
    """Pool the maps of each of the nodes, in order, over its axes: features (n, d)."""
    return torch.cat([part for node, axes in nodes for part in _pool(maps[node], axes, pooling)], dim=1)


def _pool(maps: Tensor, axes: tuple[int, ...], pooling: str) -> list[Tensor]:
    if not axes:
        return [maps]
    if pooling == "avg+std":
        variance, mean = torch.var_mean(maps, dim=axes, correction=0)
        return [mean, (variance + STD_FLOOR**2).sqrt()]
    parts = {"avg": maps.mean(dim=axes), "max": maps.amax(dim=axes)}
    return [parts[name] for name in pooling.split("+")]


def _resolve(layer: str, network: nn.Module, nodes: Sequence[str], output_layer: str) -> str:
    """Find the node that a layer of the parameters means."""
    if layer == PENULTIMATE:
        return nodes[nodes.index(output_layer) - 1]
    inside = [node for node in nodes if node == layer or node.startswith(f"{layer}.")]
    if not inside:
        modules = {node.rsplit(".", depth)[0] for node in nodes for depth in range(node.count(".") + 1)}
        near = difflib.get_close_matches(layer, sorted({*nodes, *modules}), n=5, cutoff=0.3) or nodes[-5:]
        raise ParamsError(
            f"`backbone.layer`: {type(network).__name__} has no node {layer!r}; nearest: {', '.join(near)} "
            f"({len(nodes)} nodes, {nodes[1]} to {nodes[-1]})"
        )
    return inside[-1]


def _shapes(extractor: nn.Module, size_px: int) -> dict[str, tuple[int, ...]]:
    """Give the shapes of an extractor's maps of two images, without computing them; none if it refuses the size."""
    try:
        maps = on_meta(extractor, torch.empty(2, 3, size_px, size_px, device="meta"))
    except Exception:  # networks refuse a size in many ways
        return {}
    return {node: tuple(map_.shape) for node, map_ in maps.items() if isinstance(map_, Tensor) and len(map_) == 2}


def on_meta(network: nn.Module, images: Tensor) -> Any:
    """Run a network on shapes alone, without values."""
    state = {name: value.to("meta") for name, value in [*network.named_parameters(), *network.named_buffers()]}
    return torch.func.functional_call(network, state, (images,))
