"""The parts of a network that stay in floating point when it is turned into int8, found in its graph.

They are the same in every network: the first convolutions, which see the image; the last ones before each layer that
gives features; and all that follows them, such as pooling. There, rounding reaches the features undiminished, a
standard deviation over a map most of all, and there is little time to be saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEAVY = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})
"""OpenVINO's names of the operations that take nearly all of the time, and that int8 makes faster."""

ATTENTION = frozenset({"Softmax", "ScaledDotProductAttention"})
"""Operations that only networks with attention have."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The operations of a network between the images and the features, by name; constants are left out."""

    kinds: Mapping[str, str]
    """OpenVINO's name of each operation's kind, in order of computation."""
    inputs: Mapping[str, Sequence[str]]
    """The operations whose output each operation reads."""

    def is_heavy(self, name: str) -> bool:
        """Tell whether an operation is one of HEAVY."""
        return self.kinds[name] in HEAVY

    def only_heavy(self, name: str) -> set[str]:
        """Give the operation in a set if it is one of HEAVY, else nothing."""
        return {name} if self.is_heavy(name) else set()


def read_graph(model: Any) -> Graph:
    """Read the graph of an OpenVINO model."""
    kinds, inputs = dict[str, str](), dict[str, list[str]]()
    for operation in model.get_ordered_ops():
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        sources = [value.get_source_output().get_node().get_friendly_name() for value in operation.inputs()]
        computed = [source for source in sources if source in kinds]
        if kind == "Parameter" or computed:  # all else is made of constants alone
            kinds[name], inputs[name] = kind, computed
    return Graph(kinds=kinds, inputs=inputs)


def parts_in_float(graph: Graph) -> list[str]:
    """Name the operations that stay in floating point, in order of computation."""
    behind = _heavy_before(graph)
    first = {name for name in graph.kinds if graph.is_heavy(name) and not behind[name]}
    tail = _tail(graph)
    kept = first | _last(graph, behind, tail) | tail
    return [name for name, kind in graph.kinds.items() if name in kept and kind not in ("Parameter", "Result")]


def _heavy_before(graph: Graph) -> dict[str, set[str]]:
    """Give all heavy operations that each operation depends on."""
    found = dict[str, set[str]]()
    for name, sources in graph.inputs.items():
        found[name] = set().union(*(found[source] | graph.only_heavy(source) for source in sources))
    return found


def _tail(graph: Graph) -> set[str]:
    """Give the operations that no heavy one follows, and that are none."""
    ahead = set[str]()
    for name in reversed(list(graph.kinds)):
        if name in ahead or graph.is_heavy(name):
            ahead.update(graph.inputs[name])
    return {name for name in graph.kinds if name not in ahead and not graph.is_heavy(name)}


def _last(graph: Graph, behind: Mapping[str, set[str]], tail: set[str]) -> set[str]:
    """Give the last heavy operations before each operation at which the tail begins.

    A shortcut leads there from earlier ones too; they are not the last.
    """
    near, last = dict[str, set[str]](), set[str]()
    for name, sources in graph.inputs.items():
        near[name] = set().union(*(graph.only_heavy(source) or near[source] for source in sources))
        if name in tail and not tail.issuperset(sources):
            last |= {one for one in near[name] if not any(one in behind[other] for other in near[name])}
    return last


def has_attention(graph: Graph) -> bool:
    """Tell whether a network is a transformer, of which other parts suffer."""
    return not ATTENTION.isdisjoint(graph.kinds.values())
