"""A backbone and a head as one torch network."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from stages.graft.heads.head import Head, Squash


class Classifier(nn.Module):
    """A backbone and a head: from uint8 images (n, h, w, 3), or the frozen part's output, to logits (n, c)."""

    def __init__(self, backbone: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Score images."""
        logits: Tensor = self.head(self.backbone(*inputs).flatten(1))
        return logits


class SquashLayer(nn.Module):
    """A head's squash, which training leaves as it is."""

    weight: Tensor
    bias: Tensor

    def __init__(self, squash: Squash) -> None:
        super().__init__()
        for name, value in vars(squash).items():
            self.register_buffer(name, torch.from_numpy(value).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Squash features, shape (n, d)."""
        z = x * self.weight + self.bias
        return z / (1 + z.abs())


def head_module(head: Head) -> nn.Sequential:
    """Turn a head's arrays into torch layers: Linear, or Linear, ReLU, Linear; before them the squash, if any."""
    layers: list[nn.Module] = []
    for weight, bias in head.layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [nn.ReLU(), layer] if layers else [layer]
    return nn.Sequential(*layers) if head.squash is None else nn.Sequential(SquashLayer(head.squash), *layers)


def head_from_module(module: nn.Sequential, like: Head) -> Head:
    """Turn torch layers into a head's arrays; `like` gives its kind, its classes and its squash."""
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    layers = tuple((layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in linear)
    return replace(like, layers=layers)
