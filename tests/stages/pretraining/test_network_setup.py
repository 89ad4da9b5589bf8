"""Residual blocks that start as identities."""

import pytest

from stages.graft.backbone.architectures import build_network
from stages.pretraining.network_setup import zero_residuals


@pytest.mark.parametrize("name", ["resnet18", "regnet_x_400mf", "mobilenet_v2"])
def test_zeroed_residual_blocks_start_as_identities(name: str):
    network = build_network(name, 10)
    zero_residuals(network)
    scales = [value for key, value in network.named_parameters() if key.endswith("weight") and value.ndim == 1]
    assert 0 < sum(bool((scale == 0).all()) for scale in scales) < len(scales)
