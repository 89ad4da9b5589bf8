"""A backbone: a pretrained network without its output layer, from uint8 images to features.

Letters: n images, d features.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.graft.backbone.architectures import build_fitting, build_network, load_weights
from stages.graft.backbone.layers import feature_network, on_meta
from stages.graft.backbone.tensor_files import read_tensors
from stages.graft.backbone.weights import FINETUNED, Weights
from stages.graft.core.errors import ParamsError, one_line
from stages.graft.images.decode import Batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.feature_store import Features

RANDOM_SEED = 0
"""Seed of the weights called random."""

MIDDLE = 6 / 7
"""Side of an image's middle, which is a view of its own, as a share of the image's side."""


class NormalisedNetwork(nn.Module):
    """A network with its input normalisation in front; takes uint8 pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(preprocessing.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Compute the network's output for images of shape (n, h, w, 3), uint8."""
        x = images.permute(0, 3, 1, 2).float()  # channels-last in memory already
        output: Tensor = self.network((x - self.mean) / self.std)
        return output


class AveragedViews(nn.Module):
    """A backbone whose features are the mean over four views of an image: the image, its middle, enlarged, and the
    mirror images (left to right) of both."""

    def __init__(self, backbone: NormalisedNetwork, size_px: int) -> None:
        super().__init__()
        self.backbone, self.size_px = backbone, size_px
        self.margin_px = round(size_px * (1 - MIDDLE) / 2)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features (n, d) of images (n, size_px, size_px, 3), uint8, in one pass of 4 n images."""
        features: Tensor = self.backbone(self.views(images))
        return self.mean(features.flatten(1))

    def views(self, images: Tensor) -> Tensor:
        """Give the four views of images, shape (4 n, size_px, size_px, 3); the images themselves come first."""
        inside, size = slice(self.margin_px, self.size_px - self.margin_px), [self.size_px, self.size_px]
        middle = images[:, inside, inside].permute(0, 3, 1, 2).float()
        enlarged = functional.interpolate(middle, size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        views = torch.cat([images.float(), enlarged])
        return torch.cat([views, views.flip(2)])

    def mean(self, features: Tensor) -> Tensor:
        """Average the features of all views, shape (4 n, d), to (n, d)."""
        return features.reshape(4, features.shape[0] // 4, -1).mean(dim=0)


def load_network(weights: Weights) -> nn.Module:
    """Build the network with its weights and its own output layer, in evaluation mode, float32.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    if weights.path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return build_network(weights.name, 1000).eval()
    tensors = read_tensors(weights.path)
    network = build_fitting(weights.name, tensors)
    load_weights(network, tensors, str(weights.path))
    return network.eval()


def load_backbone(weights: Weights) -> NormalisedNetwork:
    """Build the frozen backbone: uint8 images (n, h, w, 3) in, float32 features (n, d) out.

    Raises:
        ParamsError: the network has no such layer, or does not take images of that size.
        WeightsError: as in `load_network`.
    """
    if weights.weights == FINETUNED and weights.path is not None:  # the file has no output layer
        network = feature_network(build_network(weights.name, 1000).eval(), weights)
        load_weights(network, read_tensors(weights.path), str(weights.path))
    else:
        network = feature_network(load_network(weights), weights)
    backbone = NormalisedNetwork(network, weights.preprocessing).eval().requires_grad_(False)
    px = weights.preprocessing.crop_px
    try:
        on_meta(backbone, torch.empty(2, px, px, 3, dtype=torch.uint8, device="meta"))
    except Exception as error:  # networks refuse a size in many ways
        raise ParamsError(
            f"`backbone.input_px`: {weights.name} does not take {px} x {px} pixels ({one_line(error)})"
        ) from None
    return backbone.to(memory_format=torch.channels_last)


def load_averaged(weights: Weights) -> NormalisedNetwork | AveragedViews:
    """Build the backbone as its features are used: averaged over views, if the weights say so; as `load_backbone`."""
    return averaged(load_backbone(weights), weights)


def averaged(backbone: NormalisedNetwork, weights: Weights) -> NormalisedNetwork | AveragedViews:
    """Give a backbone as its features are used; both share the parameters."""
    return backbone if weights.views == 1 else AveragedViews(backbone, weights.preprocessing.crop_px).eval()


def run_batch(network: nn.Module, images: Batch, batch_size: int, device: torch.device) -> Features:
    """Compute features (n, d), float32, of at most `batch_size` images (n, h, w, 3) in one batch of exactly that size.

    The images and the features are on the CPU, the network is on `device`.
    """
    padding = np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)
    with torch.inference_mode():
        batch = torch.from_numpy(np.concatenate([images, padding])).to(device)
        features: Features = network(batch).float().cpu().numpy()[: len(images)]
    return features.reshape(len(images), -1)


def choose_device(wanted: str) -> torch.device:
    """Give the device of that name; auto is a GPU if there is one.

    Raises:
        ParamsError: cuda is requested and there is no GPU.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ParamsError("`extract.device` is cuda, but torch finds no GPU; set it to auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
