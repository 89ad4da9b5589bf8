"""Which parts of a network stay in floating point: found in graphs drawn by hand."""

import pytest

from stages.graft.backbone.int8_parts import Graph, has_attention, parts_in_float


def graph(*edges: str) -> Graph:
    """Make a graph from lines such as `conv2: relu1`; a name's letters are the operation's kind."""
    kinds = {"conv": "Convolution", "depth": "GroupConvolution", "fc": "MatMul", "in": "Parameter", "out": "Result"}
    inputs = {line.split(":")[0]: line.split(":")[1].split() for line in edges}
    return Graph(kinds={name: kinds.get(name.rstrip("0123456789"), name) for name in inputs}, inputs=inputs)


def test_the_first_and_the_last_convolution_and_what_follows_stay():
    chain = graph(
        "in:", "scale: in", "conv1: scale", "relu1: conv1", "conv2: relu1", "conv3: conv2", "mean: conv3", "out: mean"
    )
    assert parts_in_float(chain) == ["conv1", "conv3", "mean"]


def test_of_several_layers_each_has_a_last_convolution_and_its_pooling():
    """conv2 gives features and goes on, through conv3, which does not, to conv4, which does."""
    layers = graph(
        "in:", "conv1: in", "conv2: conv1", "relu2: conv2", "std2: relu2", "conv3: relu2", "conv4: conv3",
        "std4: conv4", "join: std2 std4", "out: join",
    )  # fmt: skip
    assert parts_in_float(layers) == ["conv1", "conv2", "std2", "conv4", "std4", "join"]


def test_all_convolutions_that_see_the_image_are_first():
    branches = graph("in:", "conv1: in", "conv2: in", "add: conv1 conv2", "depth: add", "conv3: depth", "out: conv3")
    assert parts_in_float(branches) == ["conv1", "conv2", "conv3"]


def test_shortcuts_around_the_last_convolution_keep_no_other():
    residual = graph("in:", "conv1: in", "conv2: conv1", "conv3: conv2", "conv4: conv3", "add: conv2 conv4", "out: add")
    assert parts_in_float(residual) == ["conv1", "conv4", "add"]


def test_of_parallel_convolutions_at_the_end_both_are_last():
    fire = graph("in:", "conv1: in", "conv2: conv1", "conv3: conv2", "conv4: conv2", "join: conv3 conv4", "out: join")
    assert parts_in_float(fire) == ["conv1", "conv3", "conv4", "join"]


@pytest.mark.parametrize(("kind", "expected"), [("Softmax", True), ("relu", False)])
def test_attention_makes_a_transformer(kind: str, expected: bool):
    assert has_attention(graph("in:", f"{kind}: in", "fc1: in", "out: fc1")) is expected
