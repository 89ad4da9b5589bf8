"""Forgetting: figures by hand, what does not change them, and the bundled kind of network on files."""

import copy
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.blocks import block_names
from stages.graft.backbone.layers import feature_network
from stages.graft.backbone.network import NormalisedNetwork, load_backbone, load_network
from stages.graft.backbone.tensor_files import save_network
from stages.graft.backbone.torchvision_networks import output_layer
from stages.graft.backbone.weights import BackboneParams, Weights, find_weights
from stages.graft.core.errors import DataError
from stages.graft.data.decoded_arrays import decoded_images
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.files import write_json
from stages.graft.training.forgetting import (
    block_distances,
    forgetting_record,
    format_forgetting,
    linear_cka,
    measure_forgetting,
    source_agreement,
    weight_changes,
    whole_distance,
    with_backbone,
)
from stages.graft.training.source_accuracy import SourceImages
from tests.support.pictures import class_folder, png, write

CPU = torch.device("cpu")
NAME = "shufflenet_v2_x0_5"
PREPROCESSING = Preprocessing(resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)
CLASSES = ("beta", "alpha", "gamma")
"""As the source's output layer numbers them: not in order of name."""


def random_weights(name: str, layers: tuple[str, ...]) -> Weights:
    return Weights(name=name, weights="random", sha256=None, preprocessing=PREPROCESSING, layers=layers, path=None)


def rotation(rng, d: int):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def test_cka_by_hand():
    x = np.array([[1.0], [-1.0], [0.0], [0.0]])
    assert linear_cka(x, np.array([[0.0], [0.0], [1.0], [-1.0]])) == 0
    # Centred already; |x'y|^2 = (2 + 0)^2, |x'x| = 2, |y'y| = 4: 4 / 8.
    assert linear_cka(x, np.array([[1.0], [-1.0], [1.0], [-1.0]])) == pytest.approx(4 / 8)


@pytest.mark.parametrize(("n", "d"), [(50, 8), (12, 30)], ids=["products of features", "products of images"])
def test_cka_takes_no_notice_of_rotation_scale_shift_and_order(rng, n: int, d: int):
    x = rng.normal(size=(n, d))
    y = x + rng.normal(size=(n, d))
    expected, order = linear_cka(x, y), rng.permutation(n)
    assert 0 < expected < 1
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(y, x) == pytest.approx(expected)
    assert linear_cka(3 * x @ rotation(rng, d) + 5, 0.1 * y @ rotation(rng, d) - 2) == pytest.approx(expected)
    assert linear_cka(x[order], y[order]) == pytest.approx(expected)
    assert linear_cka(x * np.arange(1, d + 1), y) != pytest.approx(expected)  # another metric is another likeness


def test_both_ways_to_cka_agree(rng):
    x, y = rng.normal(size=(20, 20)), rng.normal(size=(20, 5))
    narrow = linear_cka(x, y)
    wide = linear_cka(np.hstack([x, np.zeros((20, 1))]), y)  # one feature more than images, and nothing in it
    assert narrow == pytest.approx(wide)


def test_features_that_never_change_are_like_nothing(rng):
    assert linear_cka(np.ones((5, 3)), rng.normal(size=(5, 3))) == 0


def test_agreement_by_hand():
    before = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    after = np.array([[9, 0, 8], [0, 1, 2], [0, 0, 3], [5, 4, 4]], np.float32)
    assert source_agreement(before, after) == 3 / 4


def test_distances_by_hand():
    before = {
        "stem.weight": torch.tensor([3.0, 4.0]),
        "body.0.weight": torch.tensor([[2.0]]),
        "body.0.bias": torch.tensor([0.0]),
        "body.0.running_mean": torch.tensor([100.0]),
        "body.1.weight": torch.tensor([0.0]),
        "token": torch.tensor([2.0]),
        "output.weight": torch.tensor([7.0]),
    }
    after = {name: value.clone() for name, value in before.items() if name != "output.weight"}
    after |= {"stem.weight": torch.tensor([3.0, 5.0]), "body.0.bias": torch.tensor([1.0]), "token": torch.tensor([1.0])}
    after |= {"body.0.running_mean": torch.tensor([0.0]), "body.1.weight": torch.tensor([1.0])}
    table = block_distances(before, after, ["body.0", "body.1"])
    assert table["block"].tolist() == ["stem", "body.0", "body.1", "token"]
    assert table["num_weights"].tolist() == [2, 2, 1, 1]
    assert table["change"].tolist() == [1, 1, 1, 1]
    assert table["norm"].tolist() == [5, 2, 0, 2]
    assert table["distance"].tolist() == pytest.approx([1 / 5, 1 / 2, np.nan, 1 / 2], nan_ok=True)


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A bundled network of three classes, its record beside it."""
    path = tmp_path / f"backbones/{NAME}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network(NAME, 3)
    record = {"architecture": NAME, "preprocessing": PREPROCESSING.__dict__, "classes": CLASSES}
    record |= {"layers": ["stage2", "stage4"], "pooling": "avg+std"}
    save_network(network, path, record)
    write_json({"sha256": sha256(path.read_bytes()).hexdigest(), "validation_px": 48}, path.with_suffix(".json"))
    return find_weights(BackboneParams(name=NAME, weights="bundled", sha256=None, input_px=None), path.parent)


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Forty small images by id."""
    files = [(png(seed), tmp_path / f"images/{seed}.png") for seed in range(40)]
    return {sha256(data).hexdigest(): write(path, data) for data, path in files}


def shaken(backbone: nn.Module, strength: float, only: str = "") -> dict[str, torch.Tensor]:
    """A backbone's tensors, its matrices and filters changed a little."""
    generator = torch.Generator().manual_seed(0)
    state = dict(backbone.state_dict())
    for name, value in state.items():
        if value.ndim > 1 and value.is_floating_point() and only in name and name not in ("mean", "std"):
            state[name] = value + strength * value.std() * torch.randn(value.shape, generator=generator)
    return state


def test_an_unchanged_network_has_forgotten_nothing(weights, paths):
    found = measure_forgetting(weights, load_backbone(weights).state_dict(), list(paths), paths.__getitem__, CPU)
    assert (found.num_images, found.source_agreement, found.source) == (40, 1.0, None)
    assert found.cka == pytest.approx(1)
    changes = weight_changes(weights, load_backbone(weights).state_dict())
    assert set(changes["distance"]) == {0.0}
    assert changes["block"].tolist() == block_names(NAME)[: len(changes)]
    assert not any(name.startswith("source_accuracy") for name in forgetting_record(found))


def test_the_more_it_has_changed_the_more_is_forgotten(weights, paths):
    states = [shaken(load_backbone(weights), strength) for strength in (0.05, 0.5)]
    found = [measure_forgetting(weights, state, list(paths), paths.__getitem__, CPU) for state in states]
    assert 1 > found[0].cka > found[1].cka > 0
    little, much = (whole_distance(weight_changes(weights, state)) for state in states)
    assert 0 < little < much
    assert much == pytest.approx(10 * little, rel=1e-4)
    assert found[0].source_agreement >= found[1].source_agreement


def test_only_the_blocks_that_were_trained_have_moved(weights):
    state = shaken(load_backbone(weights), 0.1, only=".stage4.")
    changes = weight_changes(weights, state)
    moved = changes[changes["distance"] > 0]["block"]
    assert len(moved) > 0
    assert all(name.startswith("stage4.") for name in moved)
    assert moved.iloc[0] in block_names(NAME)


def test_the_order_of_ids_changes_nothing_and_the_record_is_rounded(weights, paths):
    state = shaken(load_backbone(weights), 0.1)
    there, back = (
        forgetting_record(measure_forgetting(weights, state, ids, paths.__getitem__, CPU))
        for ids in (list(paths), [*paths][::-1])
    )
    assert there == back
    assert list(there) == ["forgetting_num_images", "cka", "source_agreement"]
    assert there["cka"] == round(there["cka"], 6)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet18", ("layer1", "layer4")), ("squeezenet1_1", ("penultimate",)), ("mobilenet_v3_small", ("penultimate",))],
)
def test_a_backbones_weights_are_put_in_place_and_the_output_layer_keeps_its_own(name: str, layers: tuple[str, ...]):
    network = build_network(name, 5).eval()
    backbone = NormalisedNetwork(feature_network(copy.deepcopy(network), random_weights(name, layers)), PREPROCESSING)
    given = {key: value + 1 for key, value in backbone.state_dict().items()}
    before, after, output = network.state_dict(), with_backbone(network, given).state_dict(), output_layer(network)
    assert [key for key in before if torch.equal(before[key], after[key])] == [f"{output}.weight", f"{output}.bias"]
    assert all(torch.equal(after[key], before[key] + 1) for key in before if not key.startswith(f"{output}."))


def test_a_transformers_weights_have_their_place_too():
    with torch.device("meta"):  # shapes alone
        network = build_network("vit_b_16", 5).eval()
        backbone = feature_network(
            build_network("vit_b_16", 5).eval(), random_weights("vit_b_16", ("encoder.layers.encoder_layer_11",))
        )
    assert with_backbone(network, backbone.state_dict()).state_dict().keys() == network.state_dict().keys()


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(DataError, match=r"the backbone's `fc\.weight`, shape \(7, 1024\), is not of ShuffleNetV2"):
        with_backbone(load_network(weights), {"fc.weight": torch.zeros(7, 1024)})
    with pytest.raises(DataError, match=r"`layer1\.0\.weight`"):
        with_backbone(load_network(weights), {"layer1.0.weight": torch.zeros(1)})


def test_the_network_itself_is_left_alone(weights):
    network = load_network(weights)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with_backbone(network, shaken(load_backbone(weights), 0.5))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_source_images_are_scored_under_the_numbers_the_output_layer_gives_them(weights, paths, tmp_path):
    folder = class_folder(tmp_path / "source", 4, ("alpha", "beta"))
    trained = shaken(load_backbone(weights), 1.0)
    found = measure_forgetting(
        weights, trained, list(paths)[:5], paths.__getitem__, CPU, SourceImages(path=str(folder), cache=tmp_path / "c")
    )
    assert found.source is not None
    # By hand: squares of 48 pixels, as the record says, through the network; beta is class 0, alpha class 1.
    network = load_network(weights)
    with decoded_images(folder, 48, tmp_path / "c") as packed:
        x = torch.from_numpy(packed.x.copy()).permute(0, 3, 1, 2) / 255
        y = np.where(packed.y == 0, 1, 0)
    with torch.inference_mode():
        answers = network((x - 0.5) / 0.25).argmax(dim=1).numpy()
    assert found.source.num_images == 8
    assert found.source.accuracy_before == (answers == y).mean()
    assert forgetting_record(found)["source_accuracy_before"] == found.source.accuracy_before
    assert f"on 8 of its own images {found.source.accuracy_before:.1%} -> " in format_forgetting(found)
    assert not list((tmp_path / "c").iterdir())


def test_a_zip_will_do_and_classes_it_does_not_know_are_named(weights, paths, tmp_path):
    archive = tmp_path / "source.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for label in ("alpha", "delta"):
            file.writestr(f"{label}/0.png", png(len(label)))
    source = SourceImages(path=str(archive), cache=tmp_path / "c")
    state = load_backbone(weights).state_dict()
    with pytest.raises(DataError, match=r"`finetune\.source_images`: .* not pretrained on a class 'delta' \(1 unknown"):
        measure_forgetting(weights, state, list(paths)[:2], paths.__getitem__, CPU, source)


def test_weights_that_name_no_classes_take_all_of_them_in_order_of_name(paths, tmp_path):
    plain = Weights(name=NAME, weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
    source = SourceImages(path=str(class_folder(tmp_path / "source", 2)), cache=tmp_path / "c")
    with pytest.raises(DataError, match=r"2 classes, but the output layer of shufflenet_v2_x0_5 scores 1000"):
        measure_forgetting(plain, load_backbone(plain).state_dict(), list(paths)[:2], paths.__getitem__, CPU, source)
