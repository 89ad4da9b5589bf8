"""Penultimate features of every family, features of any node, hand-computed pooling, and wrong names."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.layers import STD_FLOOR, PooledLayers, feature_network, graph_nodes, pooled_axes
from stages.graft.backbone.torchvision_networks import output_layer
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.images.preprocessing import Preprocessing

FAMILIES = {
    "alexnet": 64,
    "vgg11": 32,
    "resnet18": 32,
    "inception_v3": 75,
    "googlenet": 32,
    "densenet121": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "efficientnet_b0": 32,
    "convnext_tiny": 32,
    "regnet_x_400mf": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "mnasnet0_5": 32,
    "vit_b_32": 224,
    "swin_t": 32,
    "maxvit_t": 224,
}
"""The smallest member of each family, and an input size that it takes."""


PREPROCESSING = Preprocessing(resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)


def with_layers(network: nn.Module, *layers: str, pooling: str = "avg") -> nn.Module:
    """The network that gives features of these layers."""
    weights = Weights(
        name="x", weights="random", sha256=None, preprocessing=PREPROCESSING, layers=layers, pooling=pooling, path=None
    )
    return feature_network(network, weights)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_penultimate_features_are_what_the_output_layer_scores(name):
    torch.manual_seed(0)
    network = build_network(name, 5).eval()
    x = torch.rand(1, 3, FAMILIES[name], FAMILIES[name])
    with torch.inference_mode():
        logits = network(x)
        layer = network.get_submodule(output_layer(network))
        features = with_layers(network, "penultimate")(x)
        if name == "squeezenet1_1":  # its convolution, ReLU and average come after the cut: only the shape is known
            assert features.shape == (1, layer.in_channels)
        else:
            torch.testing.assert_close(layer(features), logits)
    assert features.isfinite().all()


class Toy(nn.Module):
    """Maps, tokens and rows of known values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.last = nn.Identity()
        self.fc = nn.Linear(2, 4)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]).view(2, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        rows = self.last(maps.permute(0, 2, 3, 1)).mean(dim=(1, 2))
        return self.fc(rows)


X = torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]], [[0.0, 0.0]]]])  # one image of 1 x 2 pixels


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", [2, 10]),
        ("max", [3, 10]),
        ("avg+max", [2, 10, 3, 10]),
        ("avg+std", [2, 10, (1 + STD_FLOOR**2) ** 0.5, STD_FLOOR]),
    ],
)
@pytest.mark.parametrize("layer", ["conv", "last"], ids=["channels first", "channels last"])
def test_maps_are_pooled_over_space_wherever_the_channels_are(pooling, expected, layer):
    features = with_layers(Toy().eval(), layer, pooling=pooling)(X)
    np.testing.assert_allclose(features.detach().numpy(), [expected], rtol=1e-6)


def test_layers_are_concatenated_in_the_given_order():
    toy = Toy().eval()
    features = with_layers(toy, "fc", "conv", "penultimate")(X).detach()
    torch.testing.assert_close(features, torch.cat([toy(X), torch.tensor([[2.0, 10, 2, 10]])], dim=1))


def test_a_module_means_its_last_node_and_its_node_says_the_same():
    network = build_network("resnet18", 5).eval()
    x = torch.rand(2, 3, 32, 32)
    by_module = with_layers(network, "layer2")(x)
    assert by_module.shape == (2, 128)
    torch.testing.assert_close(by_module, with_layers(network, "layer2.1.relu_1")(x))
    torch.testing.assert_close(with_layers(network, "penultimate", "layer4")(x)[:, :512], network.avgpool(
        network.layer4(network.layer3(network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x)))))))
    )).flatten(1))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "layer", "num_features"), [("swin_t", "features.3", 192), ("vit_b_32", "encoder.ln", 768)]
)
def test_transformers_keep_their_channels(name, layer, num_features):
    backbone = with_layers(build_network(name, 5).eval(), layer)
    with torch.inference_mode():
        assert backbone(torch.rand(1, 3, 224, 224)).shape == (1, num_features)


@pytest.mark.parametrize(
    ("shape", "larger", "axes"),
    [
        ((2, 8), (2, 8), ()),
        ((2, 50, 8), None, (1,)),
        ((2, 8, 7, 7), (2, 8, 9, 9), (2, 3)),
        ((2, 7, 7, 8), (2, 9, 9, 8), (1, 2)),
        ((2, 8, 1, 1), (2, 8, 1, 1), (2, 3)),
        ((2, 8, 7, 7), None, (2, 3)),
        ((2,), (2,), None),
        ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6), None),
        (None, None, None),
    ],
)
def test_the_axis_that_does_not_follow_the_inputs_size_holds_the_channels(shape, larger, axes):
    assert pooled_axes(shape, larger) == axes


def test_an_unknown_layer_is_refused_with_the_nearest():
    network = build_network("resnet18", 5).eval()
    with pytest.raises(
        ParamsError, match=r"`backbone.layer`: ResNet has no node 'layer44'; nearest: .*layer4"
    ) as caught:
        with_layers(network, "layer44")
    assert "\n" not in str(caught.value)
    assert graph_nodes(network)[1] in str(caught.value)


def test_a_node_without_features_is_refused():
    network = build_network("vit_b_32", 5).eval()
    size = next(node for node in graph_nodes(network) if "getattr" in node or "size" in node)
    with pytest.raises(ParamsError, match="gives no features to pool"):
        with_layers(network, size)


def test_a_network_that_cannot_be_traced_says_so():
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ParamsError, match=r"Branching cannot be traced .*only penultimate"):
        with_layers(Branching(), "x")


def test_pooling_can_be_converted(rng):
    """What the bundled network's features were made with, as one formula."""
    maps = torch.from_numpy(rng.normal(size=(3, 4, 5, 5)).astype(np.float32))

    class One(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": x}

    found = PooledLayers(One(), [("a", (2, 3))], "avg+std")(maps)
    variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0)
    assert torch.equal(found, torch.cat([mean, (variance + STD_FLOOR**2).sqrt()], dim=1))
