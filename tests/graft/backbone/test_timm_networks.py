"""timm's networks: the same interface, and one clear line where something is missing."""

import sys

import pytest
import torch

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.timm_networks import find_weights as find_published
from stages.graft.backbone.timm_networks import output_layer, preprocessing
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.errors import ParamsError, WeightsError

pytest.importorskip("timm")


def params(**changes: object) -> BackboneParams:
    settings = {"name": "timm:resnet10t", "weights": "random", "sha256": None, "input_px": 32}
    return BackboneParams(**settings | changes)


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:mobilenetv3_small_050", "timm:test_vit"])
def test_penultimate_features_are_what_the_output_layer_scores(name):
    torch.manual_seed(0)
    network = build_network(name, 5).eval()
    x = torch.rand(2, 3, 160, 160)
    layer = network.get_submodule(output_layer(network))
    with torch.inference_mode():
        logits = network(x)
        network.reset_classifier(0)
        torch.testing.assert_close(layer(network(x)), logits)


def test_a_backbone_is_built_like_any_other(tmp_path):
    weights = find_weights(params(), tmp_path)
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    assert load_backbone(weights)(images).shape == (2, 512)
    deeper = find_weights(params(layer="layer2", pooling="avg+max"), tmp_path)
    assert load_backbone(deeper)(images).shape == (2, 256)


def test_the_transforms_are_timms():
    import timm

    found = preprocessing("timm:resnet10t", "c3_in1k")
    config = timm.data.resolve_data_config(timm.get_pretrained_cfg("resnet10t.c3_in1k").to_dict())
    theirs = timm.data.create_transform(**config).transforms
    assert [found.resize_px, found.crop_px, found.interpolation] == [theirs[0].size, theirs[1].size[0], "bicubic"]
    assert (found.mean, found.std) == (config["mean"], config["std"])


def test_unknown_names_and_tags_are_refused_with_the_known_ones():
    with pytest.raises(ParamsError, match=r"timm has no network 'resnet10'; nearest: .*timm:resnet10t"):
        build_network("timm:resnet10", 5)
    with pytest.raises(ParamsError, match=r"must be DEFAULT or one of .*c3_in1k.*; got 'c4'"):
        find_published("timm:resnet10t", "c4", offline=True)


def test_offline_never_asks_and_says_what_to_do():
    with pytest.raises(WeightsError, match=r"timm:resnet10t cannot be downloaded \(`backbone.offline` is true\)"):
        find_weights(params(weights="DEFAULT", offline=True), None)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ParamsError, match="pip install timm"):
        build_network("timm:resnet10t", 5)
