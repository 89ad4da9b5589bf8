"""Networks by name: built for a checkpoint's classes, and given weights that fit."""

import pytest
import torch

from stages.graft.backbone.architectures import (
    build_fitting,
    build_network,
    load_weights,
)
from stages.graft.core.errors import WeightsError


def test_weights_of_another_network_are_refused_with_the_first_misfit():
    weights = build_network("resnet18", 10).state_dict()
    with pytest.raises(WeightsError, match=r"box\.pth does not fit ShuffleNetV2"):
        load_weights(build_network("shufflenet_v2_x0_5", 10), weights, "box.pth")
    with pytest.raises(WeightsError, match=r"1 of another shape \(first: fc.weight"):
        load_weights(build_network("resnet18", 10), weights | {"fc.weight": torch.zeros(11, 512)}, "box.pth")


def test_half_precision_weights_load_into_float32():
    source = build_network("shufflenet_v2_x0_5", 10)
    halves = {name: value.half() for name, value in source.state_dict().items() if value.is_floating_point()}
    target = build_network("shufflenet_v2_x0_5", 10)
    load_weights(target, halves, "halves")
    torch.testing.assert_close(target.fc.weight, source.fc.weight, atol=1e-3, rtol=1e-3)
    assert target.fc.weight.dtype == torch.float32


@pytest.mark.parametrize("num_classes", [7, 1000])
def test_a_network_is_built_for_a_checkpoints_classes(num_classes: int):
    weights = build_network("regnet_x_400mf", num_classes).state_dict()
    assert build_fitting("regnet_x_400mf", weights).fc.out_features == num_classes


def test_a_checkpoint_without_the_output_layer_is_refused():
    with pytest.raises(WeightsError, match=r"no output layer `fc\.weight`"):
        build_fitting("resnet18", {})
