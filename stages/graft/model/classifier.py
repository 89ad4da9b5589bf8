"""A backbone and a head as one torch network."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from stages.graft.heads.head import Head, Softsign


class Classifier(nn.Module):
    """A backbone and a head: from uint8 images (n, h, w, 3), or the frozen part's output, to logits (n, c)."""

    def __init__(self, backbone: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Score images."""
        logits: Tensor = self.head(self.backbone(*inputs).flatten(1))
        return logits


class SoftsignLayer(nn.Module):
    """A head's softsign, which training leaves as it is."""

    weight: Tensor
    bias: Tensor

    def __init__(self, softsign: Softsign) -> None:
        super().__init__()
        for name, value in vars(softsign).items():
            self.register_buffer(name, torch.from_numpy(value).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Limit features, shape (n, d)."""
        z = x * self.weight + self.bias
        return z / (1 + z.abs())


def head_module(head: Head) -> nn.Sequential:
    """Turn a head's arrays into torch layers: Linear, or Linear, ReLU, Linear; before them the softsign, if any."""
    layers: list[nn.Module] = []
    for weight, bias in head.layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [nn.ReLU(), layer] if layers else [layer]
    return nn.Sequential(*layers) if head.softsign is None else nn.Sequential(SoftsignLayer(head.softsign), *layers)


def head_from_module(module: nn.Sequential, like: Head) -> Head:
    """Turn torch layers into a head's arrays; `like` gives its kind, its classes and its softsign."""
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    layers = tuple((layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in linear)
    return replace(like, layers=layers)
