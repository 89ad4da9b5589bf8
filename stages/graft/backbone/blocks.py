"""A network's blocks from input to output, as people name them: layer1.0 of a ResNet, features.4 of a VGG."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.ops.misc import ConvNormActivation

from stages.graft.backbone.architectures import build_network, output_layer
from stages.graft.core.errors import ParamsError

_ROWS_BY_NAME = ("Encoder", "MaxVitBlock")
"""Modules that do nothing but hold a row of blocks, though they are no sequence."""


def block_names(architecture: str) -> list[str]:
    """Name the blocks that have parameters, in order, without the output layer.

    A block is what a network's author put in a row: an entry of a sequence, or a layer beside one.

    Raises:
        ParamsError: no network has that name.
    """
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and not used
        network = build_network(architecture, 2)
    names = [name for name in _expand("", network) if any(True for _ in network.get_submodule(name).parameters())]
    output = output_layer(network)
    return [name for name in names if name != output]


def _expand(prefix: str, module: nn.Module) -> list[str]:
    is_row = isinstance(module, nn.Sequential | nn.ModuleList) and not isinstance(module, ConvNormActivation)
    if prefix and not is_row and type(module).__name__ not in _ROWS_BY_NAME:
        return [prefix]
    children = [(f"{prefix}.{name}".lstrip("."), child) for name, child in module.named_children()]
    return [block for name, child in children for block in _expand(name, child)]


def first_tuned(blocks: list[str], unfreeze_from: str | int) -> int:
    """Give the index of the first block that is trained on.

    Args:
        blocks: all of them, in order.
        unfreeze_from: the last so many blocks; or a block's name, or the beginning of one, such as layer4.
    Raises:
        ParamsError: no block has that name; the message lists them.
    """
    if isinstance(unfreeze_from, int):
        return max(0, len(blocks) - unfreeze_from)
    for index, name in enumerate(blocks):
        if name == unfreeze_from or name.startswith((f"{unfreeze_from}.", f"{unfreeze_from}-")):
            return index
    raise ParamsError(f"`finetune.unfreeze_from`: no block {unfreeze_from!r}; there are {', '.join(blocks)}")


def block_of(parameter: str, blocks: list[str]) -> int:
    """Find the block that a parameter, named as in the whole network, lies in; the last one if in none.

    What lies in no block follows them all, as a final normalisation does.
    """
    fitting = [index for index, name in enumerate(blocks) if parameter.startswith(f"{name}.")]
    return max(fitting, key=lambda index: len(blocks[index]), default=len(blocks) - 1)


_INSIDE = ("network.", "extractor.")
"""What a trunk puts before the names of its network's parameters."""


def name_in_network(parameter: str) -> str:
    """Strip a trunk's own prefixes from a parameter's or module's name."""
    for prefix in _INSIDE:
        parameter = parameter.removeprefix(prefix)
    return parameter


def split_backbone(trunk: nn.Module, blocks: Sequence[str], first: int) -> tuple[nn.Module, nn.Module]:
    """Cut a trunk before a block; both parts share its parameters.

    Args:
        trunk: uint8 images in, features out; in evaluation mode.
        blocks: the network's, in order.
        first: index of the first block of the second part.
    Returns:
        frozen: images to the tuple of tensors that cross the boundary; tuned: those, as arguments, to features.
    Raises:
        ParamsError: the network cannot be traced, or something other than a tensor crosses.
    """
    try:
        traced = fx.symbolic_trace(trunk)
    except Exception as error:  # the tracer raises many kinds on control flow it cannot follow
        reason = " ".join(str(error).split())[:150]
        raise ParamsError(
            f"`finetune.strategy: partial` cannot cut this network ({reason}); use full, or none"
        ) from None
    tuned: set[fx.Node] = set()
    for node in traced.graph.nodes:
        target = name_in_network(str(node.target)) + "."
        owns = node.op in ("call_module", "get_attr") and any(target.startswith(f"{name}.") for name in blocks)
        if any(one in tuned for one in node.all_input_nodes) or (owns and block_of(target, list(blocks)) >= first):
            tuned.add(node)
    output = next(node for node in traced.graph.nodes if node.op == "output")
    if output not in tuned:
        raise ParamsError("`finetune.unfreeze_from`: the features do not depend on these blocks; start earlier")
    order = [node for node in traced.graph.nodes if node.op != "output"]
    used = [node for node in order if node not in tuned and any(one in tuned for one in node.users)]
    crossing = [node for node in used if node.op != "get_attr"]
    first_part = _part(traced, [node for node in order if node not in tuned], [], tuple(crossing))
    constants = [node for node in used if node.op == "get_attr"]
    last_part = _part(traced, [*constants, *(node for node in order if node in tuned)], crossing, output.args[0])
    return _Frozen(first_part), last_part


def _part(traced: fx.GraphModule, nodes: Sequence[fx.Node], inputs: Sequence[fx.Node], outputs: Any) -> fx.GraphModule:
    """A graph of some of the nodes, on the same modules."""
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
    """The frozen part, whose output can be kept."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Any, ...] = self.part(images)
        if not all(isinstance(one, Tensor) for one in found):
            raise ParamsError("`finetune.strategy: partial`: more than maps crosses the boundary; use full, or none")
        return found
