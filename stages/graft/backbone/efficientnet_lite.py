"""EfficientNet-Lite in torch, from torchvision's blocks, and the published weights under torchvision's names.

Source: Tan and Le, EfficientNet, ICML 2019; the Lite variants are of github.com/tensorflow/tpu, models/official/
efficientnet/lite: no squeeze-and-excitation, ReLU6, and a stem and a head of one width for all variants.
"""

import math
from collections.abc import Mapping
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import _make_divisible
from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig

_STAGES = (
    # expansion, kernel, stride, channels in, channels out, layers; at width 1 and depth 1
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)

_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
"""Width and depth of each variant."""

_BLOCK_PARTS = {
    "_expand_conv": (-1, 0),
    "_bn0": (-1, 1),
    "_depthwise_conv": (0, 0),
    "_bn1": (0, 1),
    "_project_conv": (2, 0),
    "_bn2": (2, 1),
}
"""Published parts of a block: their row in torchvision's block, counted from the depthwise one, and the layer in it."""

_ENDS = {
    "_conv_stem": "features.0.0",
    "_bn0": "features.0.1",
    "_conv_head": "features.8.0",
    "_bn1": "features.8.1",
    "_fc": "classifier.1",
}
"""Published names of the parts outside the blocks, to torchvision's."""


class SamePaddedConv2d(nn.Conv2d):
    """A convolution of stride 2 that pads as TensorFlow's SAME: on an even side, one pixel less at the beginning."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps (n, c, h, w) to maps of half the height and width, rounded up."""
        end = (self.kernel_size[0] - 1) // 2
        top, left = end - 1 + x.shape[2] % 2, end - 1 + x.shape[3] % 2
        padded = F.pad(x, (left, end, top, end))
        return F.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


class _NoExcitation(nn.Identity):
    """In place of torchvision's squeeze-and-excitation, whose arguments it ignores."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()


def build_efficientnet_lite(name: str, num_classes: int) -> nn.Module:
    """Build a network with fresh weights: normalised RGB images (n, 3, h, w) in, class scores (n, c) out."""
    network = EfficientNet(
        [MBConvConfig(*stage, 1.0, 1.0, partial(MBConv, se_layer=_NoExcitation)) for stage in _stages(name)],
        dropout=0.2,
        stochastic_depth_prob=0.0,
        num_classes=num_classes,
        last_channel=1280,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
    )
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.SiLU):
            network.set_submodule(path, nn.ReLU6(inplace=True))
        elif isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            network.set_submodule(path, _same_padded(module))
    built: nn.Module = network
    return built


def torchvision_names(name: str, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published weights of a network as torchvision names them.

    Raises:
        KeyError: a tensor of another network.
    """
    stages = [stage for stage, row in enumerate(_stages(name)) for _ in range(row[-1])]
    return {_torchvision_name(key, stages): value for key, value in published.items()}


def _torchvision_name(published: str, stages: list[int]) -> str:
    """Rename one tensor; `stages` has the stage of each block."""
    part, _, rest = published.partition(".")
    if part != "_blocks":
        return f"{_ENDS[part]}.{rest}"
    number, part, leaf = rest.split(".")
    stage = stages[int(number)]
    depthwise = 0 if stage == 0 else 1  # the blocks of the first stage do not expand
    row, layer = _BLOCK_PARTS[part]
    block = int(number) - stages.index(stage)
    return f"features.{stage + 1}.{block}.block.{depthwise + row}.{layer}.{leaf}"


def _stages(name: str) -> list[tuple[int, int, int, int, int, int]]:
    """Scale the stages as a variant is scaled; the first channels and the depth of both ends are fixed."""
    width, depth = _SCALES[name]
    rows = []
    for number, (expansion, kernel, stride, channels_in, channels_out, layers) in enumerate(_STAGES):
        scaled_in = channels_in if number == 0 else _make_divisible(channels_in * width, 8)
        scaled_layers = layers if number in (0, len(_STAGES) - 1) else math.ceil(layers * depth)
        scaled_out = _make_divisible(channels_out * width, 8)
        rows.append((expansion, kernel, stride, scaled_in, scaled_out, scaled_layers))
    return rows


def _same_padded(convolution: nn.Conv2d) -> SamePaddedConv2d:
    """Give a convolution with the same weights and shape that pads as TensorFlow's SAME."""
    same = SamePaddedConv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size[0],
        stride=2,
        groups=convolution.groups,
        bias=False,
    )
    same.weight = convolution.weight
    return same
