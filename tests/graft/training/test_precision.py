"""The precision of training: by the hardware, and by the layers that are trained."""

import pytest
import torch
from torch import nn

from stages.graft.training.precision import computes_in_bf16, depthwise_share, trains_in_bf16

CPU = torch.device("cpu")


def network(*, channels: int, depthwise: bool) -> nn.Module:
    """A convolution of 3 x 3 and one of 1 x 1, without biases."""
    groups = channels if depthwise else 1
    spatial = nn.Conv2d(channels, channels, 3, groups=groups, bias=False)
    return nn.Sequential(spatial, nn.Conv2d(channels, channels, 1, bias=False))


def test_the_share_of_depthwise_weights_by_hand():
    assert depthwise_share(network(channels=4, depthwise=True)) == 36 / (36 + 16)
    assert depthwise_share(network(channels=4, depthwise=False)) == 0
    assert depthwise_share(nn.Sequential(nn.Conv2d(8, 8, 1, groups=2, bias=False), nn.Linear(4, 2))) == 0


@pytest.mark.parametrize("hardware", [True, False])
def test_auto_takes_bf16_where_hardware_and_layers_are_faster_with_it(monkeypatch, hardware):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": hardware})
    assert computes_in_bf16("auto", CPU) is hardware
    assert trains_in_bf16(network(channels=4, depthwise=False), "auto", CPU) is hardware
    assert trains_in_bf16(network(channels=512, depthwise=True), "auto", CPU) is hardware  # 9 of 521: 1.7%
    assert not trains_in_bf16(network(channels=256, depthwise=True), "auto", CPU)  # 9 of 265: 3.4%


@pytest.mark.parametrize(("precision", "expected"), [("fp32", False), ("bf16", True)])
def test_what_is_asked_for_is_done(precision, expected):
    assert computes_in_bf16(precision, CPU) is expected
    assert trains_in_bf16(network(channels=4, depthwise=True), precision, CPU) is expected
