"""Backbones: from uint8 images to features, from files that never run code."""

import pickle
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.network import AveragedViews, NormalisedNetwork, load_averaged, load_backbone, load_network
from stages.graft.backbone.tensor_files import read_tensors, save_network
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import WeightsError
from stages.graft.images.preprocessing import Preprocessing

NAME = "shufflenet_v2_x0_5"
PREPROCESSING = Preprocessing(
    resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)


def weights_at(path: Path | None) -> Weights:
    digest = sha256(path.read_bytes()).hexdigest() if path else None
    return Weights(name=NAME, weights="x", sha256=digest, preprocessing=PREPROCESSING, path=path)


def test_normalisation_is_the_papers_formula_on_uint8():
    module = NormalisedNetwork(torch.nn.Identity(), PREPROCESSING)
    image = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)  # one pixel
    expected = [(1 - 0.5) / 0.2, (0 - 0.4) / 0.25, (0.2 - 0.3) / 0.5]
    np.testing.assert_allclose(module(image).flatten(), expected, rtol=1e-5)


def test_a_saved_network_is_loaded_with_its_classes_at_half_precision(tmp_path: Path):
    network = build_network(NAME, 7).eval()
    save_network(network, tmp_path / "net.safetensors", {"architecture": NAME})
    loaded = load_network(weights_at(tmp_path / "net.safetensors"))
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x), atol=2e-3, rtol=2e-2)
    assert not loaded.training


def test_saving_twice_gives_the_same_bytes(tmp_path: Path):
    network = build_network(NAME, 7)
    record = {"architecture": NAME, "classes": ["b", "a"], "preprocessing": {"z": 1, "y": 2}}
    for name in ("one", "two"):
        save_network(network, tmp_path / name, record)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_random_weights_are_the_same_every_time_and_leave_the_global_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = load_backbone(weights_at(None)), load_backbone(weights_at(None))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in one.parameters())


def views_of(images):
    """The four views, made by OpenCV and numpy: 32 pixels, and the 28 in the middle of them."""
    middles = [cv2.resize(image[2:30, 2:30].astype(np.float32), (32, 32)) for image in images]
    views = [images.astype(np.float32), np.stack(middles)]
    return [*views, *(view[:, :, ::-1] for view in views)]


def test_views_are_the_image_its_middle_and_their_mirror_images(rng):
    """A network that gives the pixels themselves: the features are the mean of the views' pixels."""
    plain = replace(PREPROCESSING, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    averaged = AveragedViews(NormalisedNetwork(torch.nn.Identity(), plain), 32)
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = np.mean(views_of(images), axis=0).transpose(0, 3, 1, 2).reshape(3, -1)
    np.testing.assert_allclose(averaged(torch.from_numpy(images)), expected, atol=1e-3)


def test_a_mirror_image_has_the_same_features_over_four_views(rng):
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    backbone, averaged = load_backbone(weights_at(None)), load_averaged(replace(weights_at(None), views=4))
    with torch.inference_mode():
        one, found, mirrored = (
            network(torch.from_numpy(pixels.copy())).numpy()
            for network, pixels in ((backbone, images), (averaged, images), (averaged, images[:, :, ::-1]))
        )
    scale = np.abs(found).max()
    assert np.abs(one - found).max() > 0.1 * scale
    np.testing.assert_allclose(mirrored / scale, found / scale, atol=1e-4)
    assert not averaged.training


def test_one_view_is_the_backbone_itself():
    assert isinstance(load_averaged(weights_at(None)), NormalisedNetwork)


def test_checkpoints_of_torch_are_read_with_their_usual_wrappings(tmp_path: Path):
    state = build_network(NAME, 7).state_dict()
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(wrapped, tmp_path / "net.pth")
    assert read_tensors(tmp_path / "net.pth").keys() == state.keys()


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match="tensors alone"):
        read_tensors(tmp_path / "net.pth")
    assert not Path("exploded").exists()


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path):
    (tmp_path / "net.safetensors").write_bytes(b"hello")
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        read_tensors(tmp_path / "net.safetensors")
