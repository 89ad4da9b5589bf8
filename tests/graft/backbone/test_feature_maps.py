"""The maps of a network: those that its features are made from, the features unchanged, in torch and in OpenVINO."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.graft.backbone.feature_maps import with_maps
from stages.graft.backbone.network import load_averaged
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.images.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    resize_px=64, crop_px=64, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)
SQUEEZENET = Weights(name="squeezenet1_1", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
RESNET = replace(SQUEEZENET, name="resnet18", layers=("layer2", "layer3", "penultimate"), pooling="avg+std")


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("weights", [SQUEEZENET, RESNET], ids=["penultimate", "layers"])
def test_features_are_unchanged_and_the_averages_of_their_maps(weights, images):
    backbone, batch = load_averaged(weights), torch.from_numpy(images)
    with torch.inference_mode():
        expected = backbone(batch).flatten(1)
        features, *maps = with_maps(backbone, PREPROCESSING)(batch)
    assert torch.equal(features, expected)
    averages = [some.mean(dim=(2, 3)) for some in maps]
    starts = [0] if weights is SQUEEZENET else [0, 2 * 128, 2 * (128 + 256)]
    for start, average in zip(starts, averages, strict=True):
        torch.testing.assert_close(features[:, start : start + average.shape[1]], average)


def test_with_four_views_the_first_maps_are_those_of_the_image(images):
    backbone, batch = load_averaged(SQUEEZENET), torch.from_numpy(images)
    four = load_averaged(replace(SQUEEZENET, views=4))
    with torch.inference_mode():
        _, expected = with_maps(backbone, PREPROCESSING)(batch)
        features, maps = with_maps(four, PREPROCESSING)(batch)
        assert torch.equal(features, four(batch))
    assert len(maps) == 16
    torch.testing.assert_close(maps[:4], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("views", [1, 4])
def test_both_runtimes_give_the_maps_in_the_same_pass_and_the_same_features(images, tmp_path, views):
    weights = replace(SQUEEZENET, views=views)
    found = {}
    for name in ("openvino", "torch"):
        choice = AUTOMATIC.model_copy(update={"runtime": name, "batch_size": 4, "device": "cpu", "precision": "fp32"})
        runtime = choose_runtime(weights, choice, tmp_path)
        features, found[name] = runtime.load_maps()(images)
        assert features.tobytes() == runtime.load()(images).tobytes()
    for one, other in zip(found["openvino"], found["torch"], strict=True):
        assert one.shape == other.shape == (4, 512, 3, 3)
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_network_without_maps_says_so(monkeypatch, tmp_path, runtime):
    for module in ("feature_maps", "torch_runtime"):
        monkeypatch.setattr(f"stages.graft.backbone.{module}.with_maps", lambda *_: None)
    choice = AUTOMATIC.model_copy(update={"runtime": runtime, "batch_size": 4, "device": "cpu"})
    with pytest.raises(ParamsError, match=r"this network gives no maps from which heat maps could be made"):
        choose_runtime(SQUEEZENET, choice, tmp_path).load_maps()
