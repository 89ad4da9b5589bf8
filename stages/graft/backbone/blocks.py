"""A network's blocks in order, by their usual names (layer1.0 of a ResNet), and the cut before one of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.ops.misc import ConvNormActivation

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.providers import provider_of
from stages.graft.core.errors import ParamsError, one_line

_ROWS_BY_NAME = ("Encoder", "MaxVitBlock")
"""Classes of modules that only hold a row of blocks, though they are no sequence."""

_BACKBONE_PREFIXES = ("network.", "extractor.")
"""Prefixes that a backbone adds to the names of its network's parameters."""


def block_names(architecture: str) -> list[str]:
    """Name the blocks that have parameters, in order, without the output layer.

    A block is an entry of a sequence of modules, or a layer beside one.

    Raises:
        ParamsError: no network has that name.
    """
    with torch.random.fork_rng(devices=[]):  # building draws weights, which are not used
        network = build_network(architecture, 2)
    names = [name for name in _expand("", network) if any(True for _ in network.get_submodule(name).parameters())]
    output = provider_of(architecture).output_layer(network)
    return [name for name in names if name != output]


def _expand(prefix: str, module: nn.Module) -> list[str]:
    is_row = isinstance(module, nn.Sequential | nn.ModuleList) and not isinstance(module, ConvNormActivation)
    if prefix and not is_row and type(module).__name__ not in _ROWS_BY_NAME:
        return [prefix]
    children = [(f"{prefix}.{name}".lstrip("."), child) for name, child in module.named_children()]
    return [block for name, child in children for block in _expand(name, child)]


def first_tuned(blocks: list[str], unfreeze_from: str | int) -> int:
    """Give the index of the first block that is trained.

    Args:
        blocks: the network's, in order.
        unfreeze_from: number of blocks to train, the last ones; or a block's name, or its beginning, such as layer4.
    Raises:
        ParamsError: no block has that name; the message lists them.
    """
    if isinstance(unfreeze_from, int):
        return max(0, len(blocks) - unfreeze_from)
    for index, name in enumerate(blocks):
        if name == unfreeze_from or name.startswith((f"{unfreeze_from}.", f"{unfreeze_from}-")):
            return index
    raise ParamsError(f"`finetune.unfreeze_from`: no block {unfreeze_from!r}; there are {', '.join(blocks)}")


def block_of(parameter: str, blocks: Sequence[str]) -> int | None:
    """Give the index of the block of a parameter, by its name in the network; None for one outside all blocks."""
    matching = [index for index, name in enumerate(blocks) if parameter.startswith(f"{name}.")]
    return max(matching, key=lambda index: len(blocks[index]), default=None)


def name_in_network(parameter: str) -> str:
    """Give a parameter's or module's name in the network from its name in a backbone."""
    for prefix in _BACKBONE_PREFIXES:
        parameter = parameter.removeprefix(prefix)
    return parameter


def split_backbone(backbone: nn.Module, blocks: Sequence[str], first: int) -> tuple[nn.Module, nn.Module]:
    """Cut a backbone before a block; both parts share its parameters.

    Args:
        backbone: uint8 images in, features out; in evaluation mode.
        blocks: the network's, in order.
        first: index of the first block of the second part.
    Returns:
        frozen: images to the tuple of tensors that cross the cut; tuned: these tensors, as arguments, to features.
    Raises:
        ParamsError: the network cannot be traced, or something other than a tensor crosses the cut.
    """
    try:
        traced = fx.symbolic_trace(backbone)
    except Exception as error:  # the tracer raises many kinds on control flow it cannot follow
        raise ParamsError(
            f"`finetune.strategy: partial` cannot cut this network ({one_line(error)}); use full, or none"
        ) from None
    tuned = _nodes_from(traced.graph, blocks, first)
    *order, output = traced.graph.nodes
    if output not in tuned:
        raise ParamsError("`finetune.unfreeze_from`: the features do not depend on these blocks; start earlier")
    used = [node for node in order if node not in tuned and any(user in tuned for user in node.users)]
    crossing = [node for node in used if node.op != "get_attr"]
    constants = [node for node in used if node.op == "get_attr"]
    frozen_part = _part(traced, [node for node in order if node not in tuned], [], tuple(crossing))
    tuned_part = _part(traced, [*constants, *(node for node in order if node in tuned)], crossing, output.args[0])
    return _Frozen(frozen_part), tuned_part


def _nodes_from(graph: fx.Graph, blocks: Sequence[str], first: int) -> set[fx.Node]:
    """Collect the nodes of the blocks from the first one on, and all nodes computed from them."""
    nodes: set[fx.Node] = set()
    for node in graph.nodes:
        target = name_in_network(str(node.target)) + "."
        block = block_of(target, blocks) if node.op in ("call_module", "get_attr") else None
        if (block is not None and block >= first) or any(source in nodes for source in node.all_input_nodes):
            nodes.add(node)
    return nodes


def _part(traced: fx.GraphModule, nodes: Sequence[fx.Node], inputs: Sequence[fx.Node], outputs: Any) -> fx.GraphModule:
    """Make a graph of some of the nodes, on the same modules."""
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        if node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(fx.node.map_arg(outputs, copies.__getitem__))
    part = fx.GraphModule(traced, graph)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part


class _Frozen(nn.Module):
    """The frozen part; its output can be cached."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Any, ...] = self.part(images)
        if not all(isinstance(output, Tensor) for output in outputs):
            raise ParamsError("`finetune.strategy: partial`: more than maps crosses the boundary; use full, or none")
        return outputs
