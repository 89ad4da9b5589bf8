"""Features from any layer of a network: the penultimate one, or nodes of its graph, pooled and put side by side."""

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from stages.graft.backbone.architectures import cut_output, output_layer
from stages.graft.core.errors import ParamsError

PENULTIMATE = "penultimate"

STD_FLOOR = 1e-3
"""Keeps the gradient of a constant map's deviation finite."""

_SIZES_PX = (224, 256)
"""Two input sizes: an axis whose length does not follow them holds the channels."""


def feature_network(network: nn.Module, layers: Sequence[str], pooling: str) -> nn.Module:
    """Turn a network into one that gives features, shape (n, d).

    Maps (n, c, h, w), in whatever order the network keeps their axes, are pooled over h and w; tokens (n, t, c) over t;
    rows (n, c) stay as they are.

    Args:
        network: in evaluation mode; changed in place when the features are the penultimate ones alone.
        layers: `penultimate`, or nodes of the network's graph as torchvision's feature extraction names them, or the
            modules they lie in, whose last node is meant then.
        pooling: avg; max; avg+max; avg+std: the mean and the standard deviation, which says how much a texture varies
            where the mean only says how much of it there is.
    Raises:
        ParamsError: the network has no such node, or the node gives no features.
    """
    if tuple(layers) == (PENULTIMATE,):
        return cut_output(network)
    nodes = graph_nodes(network)
    wanted = [_resolve(layer, network, nodes) for layer in layers]
    extractor = create_feature_extractor(network, list(dict.fromkeys(wanted)))
    shapes = [_shapes(extractor, size_px) for size_px in _SIZES_PX]
    axes = {}
    for layer, node in zip(layers, wanted, strict=True):
        axes[node] = pooled_axes(shapes[0].get(node), shapes[1].get(node))
        if axes[node] is None:
            raise ParamsError(f"`backbone.layer`: {layer!r} of {type(network).__name__} gives no features to pool")
    return PooledLayers(extractor, [(node, axes[node] or ()) for node in wanted], pooling)


def graph_nodes(network: nn.Module) -> list[str]:
    """Name the nodes of a network's graph in evaluation mode, in the order they are computed.

    Raises:
        ParamsError: the network cannot be traced.
    """
    try:
        return list(get_graph_node_names(network)[1])
    except Exception as error:  # the tracer raises many kinds on control flow it cannot follow
        reason = " ".join(str(error).split())[:150]
        raise ParamsError(
            f"`backbone.layer`: {type(network).__name__} cannot be traced ({reason}); only penultimate can be had"
        ) from None


def pooled_axes(shape: tuple[int, ...] | None, larger: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Which axes to pool over, from a node's shape and the one it has with a larger input.

    Returns:
        None when a node gives no features; empty for rows.
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
    """Maps of several layers, each pooled to one or two numbers a channel."""

    def __init__(self, extractor: nn.Module, nodes: Sequence[tuple[str, tuple[int, ...]]], pooling: str) -> None:
        """Join an extractor and its pooling.

        Args:
            extractor: gives a dictionary of maps by node.
            nodes: which of them, in order, and the axes to pool over.
            pooling: as in `trunk_of`.
        """
        super().__init__()
        self.extractor, self.nodes, self.pooling = extractor, tuple(nodes), pooling

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 3, h, w) to features (n, d)."""
        maps = self.extractor(x)
        return torch.cat([part for node, axes in self.nodes for part in _pool(maps[node], axes, self.pooling)], dim=1)


def _pool(maps: Tensor, axes: tuple[int, ...], pooling: str) -> list[Tensor]:
    if not axes:
        return [maps]
    if pooling == "avg+std":
        variance, mean = torch.var_mean(maps, dim=axes, correction=0)
        return [mean, (variance + STD_FLOOR**2).sqrt()]
    parts = {"avg": maps.mean(dim=axes), "max": maps.amax(dim=axes)}
    return [parts[name] for name in pooling.split("+")]


def _resolve(layer: str, network: nn.Module, nodes: Sequence[str]) -> str:
    if layer == PENULTIMATE:
        return nodes[nodes.index(output_layer(network)) - 1]
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
    """Shapes of an extractor's maps of two images, found without computing; empty when the size does not suit it."""
    try:
        maps = on_meta(extractor, torch.empty(2, 3, size_px, size_px, device="meta"))
    except Exception:  # networks refuse a size in many ways
        return {}
    return {node: tuple(map_.shape) for node, map_ in maps.items() if isinstance(map_, Tensor) and len(map_) == 2}


def on_meta(network: nn.Module, images: Tensor) -> Any:
    """Run a network on shapes alone, without its weights' values."""
    state = {name: value.to("meta") for name, value in [*network.named_parameters(), *network.named_buffers()]}
    return torch.func.functional_call(network, state, (images,))
