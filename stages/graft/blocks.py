"""A network's blocks from input to output, as people name them: layer1.0 of a ResNet, features.4 of a VGG."""

import torch
from torch import nn
from torchvision.ops.misc import ConvNormActivation

from stages.graft.errors import ParamsError
from stages.graft.networks import build_network, output_layer

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
