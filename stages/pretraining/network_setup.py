"""Preparations for training a network from scratch: normalised images, and residual blocks that start as identities."""

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual as MobileNetV2Block
from torchvision.models.mobilenetv3 import InvertedResidual as MobileNetV3Block
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.models.resnet import BasicBlock, Bottleneck

from stages.graft.images.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of each channel of RGB in [0, 1] over ImageNet, as torchvision's weights expect."""


def square_preprocessing(side_px: int) -> Preprocessing:
    """Give the preprocessing of images that are scaled to squares, in pixels, and normalised with MEAN and STD."""
    return Preprocessing(resize_px=side_px, crop_px=side_px, interpolation="bilinear", mean=MEAN, std=STD)


def normalise(x: Tensor) -> Tensor:
    """Normalise RGB images in [0, 1], shape (n, 3, h, w), as networks trained on ImageNet expect."""
    mean = torch.tensor(MEAN, device=x.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=x.device).view(1, 3, 1, 1)
    return (x - mean) / std


def zero_residuals(network: nn.Module) -> None:
    """Make every residual block the identity: set the scale of its last batch-norm to zero, in place.

    Without it a deep, narrow network needs thousands of steps to find a scale.

    Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.1.
    """
    for block in network.modules():
        match block:
            case BasicBlock():
                last = block.bn2
            case Bottleneck():
                last = block.bn3
            case ResBottleneckBlock():
                last = block.f.c[1]
            case MobileNetV2Block(use_res_connect=True):
                last = block.conv[-1]
            case MobileNetV3Block(use_res_connect=True):
                last = block.block[-1][1]
            case _:
                continue
        nn.init.zeros_(last.weight)
