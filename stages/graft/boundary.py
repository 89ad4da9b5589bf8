"""A trunk cut in two where training begins: what stays frozen, and what is trained on."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from stages.graft.blocks import block_of
from stages.graft.errors import ParamsError

_INSIDE = ("network.", "extractor.")
"""What a trunk puts before the names of its network's parameters."""


def name_in_network(parameter: str) -> str:
    """Strip a trunk's own prefixes from a parameter's or module's name."""
    for prefix in _INSIDE:
        parameter = parameter.removeprefix(prefix)
    return parameter


def split_trunk(trunk: nn.Module, blocks: Sequence[str], first: int) -> tuple[nn.Module, nn.Module]:
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
