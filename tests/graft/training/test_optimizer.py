"""Optimisation: rates by depth and by step, the pull to the start, the average; values computed by hand."""

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from stages.graft.training.optimizer import average_weights, make_optimizer, make_scheduler, pull_to_start
from tests.graft.training.test_finetune_loop import finetune_params


def test_rates_fall_with_depth_and_decay_spares_vectors():
    parameters = dict(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).named_parameters())
    depths = {"0.weight": 2, "0.bias": 2, "1.weight": 0, "1.bias": 0}
    params = finetune_params(learning_rate=0.8, layer_decay=0.5, weight_decay=0.1)
    optimizer = make_optimizer(parameters, depths, params)
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for name, one in parameters.items()
        if any(one is member for member in group["params"])
    }
    assert found == {"0.weight": (0.2, 0.1), "0.bias": (0.2, 0.0), "1.weight": (0.8, 0.1), "1.bias": (0.8, 0.0)}


def rates(epochs_done: int, **changes: float) -> list[float]:
    """Rates of the steps that are left, with two steps per epoch."""
    params = finetune_params(**changes)
    optimizer = make_optimizer({"a": nn.Parameter(torch.zeros(1))}, {"a": 0}, params)
    scheduler, found = make_scheduler(optimizer, params, 2, epochs_done), []
    for _ in range(2 * (params.epochs - epochs_done)):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_a_rise_then_half_a_cosine():
    expected = [0.5, 1.0, 1.0, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5]
    assert rates(0, learning_rate=1.0, epochs=3, warmup_epochs=1) == pytest.approx(expected)


def test_without_a_rise_it_starts_at_the_peak():
    assert rates(0, learning_rate=0.3, epochs=5, warmup_epochs=0)[0] == 0.3


@pytest.mark.parametrize("epochs_done", [1, 2])
def test_a_resumed_training_has_the_rates_that_are_left(epochs_done):
    assert rates(epochs_done, epochs=3) == rates(0, epochs=3)[2 * epochs_done :]


def test_the_pull_is_the_gradient_of_half_the_squared_distance():
    one = nn.Parameter(torch.tensor([3.0, -1.0]))
    one.grad = torch.tensor([0.5, 0.5])
    pull_to_start({"a": one, "b": nn.Parameter(torch.zeros(1))}, {"a": torch.tensor([1.0, -1.0])}, 0.1)
    torch.testing.assert_close(one.grad, torch.tensor([0.7, 0.5]))


def test_the_average_follows_quickly_at_first_then_slowly():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    average, values = average_weights(layer, 0.15), []
    for _ in range(3):
        with torch.no_grad():
            layer.weight.fill_(1.0)
        average.update_parameters(layer)
        values.append(average.module.weight.item())
    # decays 1/10, then 2/11 held to 0.15, then 0.15
    assert values == pytest.approx([0.9, 1 - 0.1 * 0.15, 1 - 0.1 * 0.15 * 0.15])


def test_the_average_of_a_traced_network_gives_what_the_network_gives():
    layers = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Sequential(nn.Conv2d(4, 2, 1)))
    network = create_feature_extractor(layers.eval(), ["0.1", "1.0"]).eval()
    images = torch.rand(5, 3, 8, 8)
    average = average_weights(network, 0.9)
    with torch.inference_mode():
        expected, found = (model(images)["1.0"] for model in (network, average))
    assert torch.equal(found, expected)  # with the statistics of the network, not those of the images
