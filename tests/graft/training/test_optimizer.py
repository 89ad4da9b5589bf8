"""Optimisation: rates by depth, the pull to the start, the average; by hand-computed values."""

import pytest
import torch
from torch import nn

from stages.graft.training.optimizer import Average, make_optimizer, pull_to_start, rate_at, set_rate


def test_rates_fall_with_depth_and_decay_spares_vectors():
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    parameters = dict(layers.named_parameters())
    depths = {"0.weight": 2, "0.bias": 2, "1.weight": 0, "1.bias": 0}
    optimizer = make_optimizer("adamw", depths, parameters, 0.5, 0.1)
    set_rate(optimizer, 0.8)
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for name, one in parameters.items()
        if any(one is member for member in group["params"])
    }
    assert found == {"0.weight": (0.2, 0.1), "0.bias": (0.2, 0.0), "1.weight": (0.8, 0.1), "1.bias": (0.8, 0.0)}


@pytest.mark.parametrize(("step", "rate"), [(0, 0.5), (1, 1.0), (2, 1.0), (4, 0.5), (6, 0.0)])
def test_a_rise_then_half_a_cosine(step, rate):
    assert rate_at(step, 1.0, 6, 2) == pytest.approx(rate)


def test_without_a_rise_it_starts_at_the_peak():
    assert rate_at(0, 0.3, 10, 0) == 0.3


def test_the_pull_is_the_gradient_of_half_the_squared_distance():
    one = nn.Parameter(torch.tensor([3.0, -1.0]))
    one.grad = torch.tensor([0.5, 0.5])
    pull_to_start({"a": one, "b": nn.Parameter(torch.zeros(1))}, {"a": torch.tensor([1.0, -1.0])}, 0.1)
    torch.testing.assert_close(one.grad, torch.tensor([0.7, 0.5]))


def test_the_average_follows_quickly_at_first_then_slowly():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    average, values = Average(layer, 0.15), []
    for _ in range(3):
        with torch.no_grad():
            layer.weight.fill_(1.0)
        average.update(layer)
        values.append(average.network.weight.item())
    # decays 1/10, then 2/11 held to 0.15, then 0.15
    assert values == pytest.approx([0.9, 1 - 0.1 * 0.15, 1 - 0.1 * 0.15 * 0.15])
