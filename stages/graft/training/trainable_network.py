"""A pretrained network with a head, cut into a frozen and a trained part."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from stages.graft.backbone.blocks import block_names, block_of, first_tuned, name_in_network, split_backbone
from stages.graft.backbone.network import NormalisedNetwork, load_backbone
from stages.graft.backbone.weights import Weights
from stages.graft.heads.head import Head
from stages.graft.model.classifier import Classifier, head_module


@dataclass(frozen=True, kw_only=True)
class TrainableNetwork:
    """A network before its training; all parts share their parameters."""

    backbone: NormalisedNetwork
    """From uint8 images to features."""
    frozen: nn.Module | None
    """From uint8 images to the inputs of the classifier; None: these are the images."""
    classifier: Classifier
    """The trained part of the backbone, and the head."""
    depths: Mapping[str, int]
    """Number of blocks after the block of each of the classifier's parameters, by name; 0 for the head."""


def trainable_network(
    weights: Weights, head: Head, boundary: str | int | None, device: torch.device
) -> TrainableNetwork:
    """Load a network and cut it.

    Args:
        weights: weights of the network.
        head: fitted on its features.
        boundary: the first trained block, or the number of trained blocks; None: all are trained.
        device: device of the network.
    Raises:
        ParamsError: the network has no such block, or cannot be cut there.
    """
    backbone, blocks = load_backbone(weights).to(device), block_names(weights.name)
    names = {id(value): name_in_network(name) for name, value in backbone.named_parameters()}
    trained: nn.Module = backbone
    frozen: nn.Module | None = None
    if boundary is not None:
        frozen, trained = split_backbone(backbone, blocks, first_tuned(blocks, boundary))
    classifier = Classifier(trained, head_module(head).to(device)).requires_grad_(True)
    # Parameters are found by identity: the cut renames them.
    depths = {name: _depth(names.get(id(value)), blocks) for name, value in classifier.named_parameters()}
    return TrainableNetwork(backbone=backbone, frozen=frozen, classifier=classifier, depths=depths)


def _depth(name: str | None, blocks: list[str]) -> int:
    """Depth of a parameter of the backbone, or of the head, which has no name; one outside all blocks follows them."""
    if name is None:
        return 0
    block = block_of(name, blocks)
    return 1 if block is None else len(blocks) - block
