"""Weights are found by name, checked by SHA-256, and refused with a line that says what to do."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stages.graft.backbone.weights import BackboneParams, find_weights, weights_for, weights_from_record
from stages.graft.core.errors import GraftError, ParamsError, WeightsError
from stages.graft.core.params import load_params
from stages.graft.storage.arrays import write_arrays
from stages.graft.storage.hashing import fingerprint_of, sha256_of

PREPROCESSING = {
    "resize_px": 40,
    "crop_px": 32,
    "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}


def params(**changes: object) -> BackboneParams:
    return BackboneParams(**{"name": "tiny", "weights": "bundled", "sha256": None, "input_px": None} | changes)


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    """A folder with one bundled network, as pretraining writes it."""
    path = tmp_path / "backbones" / "tiny.safetensors"
    write_arrays({"w": np.arange(6.0)}, path, {"architecture": "tiny", "preprocessing": PREPROCESSING})
    record = {"sha256": sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path.parent


def test_bundled_weights_carry_their_preprocessing_and_no_path_in_the_record(bundled: Path):
    weights = find_weights(params(), bundled)
    assert weights.path == bundled / "tiny.safetensors"
    assert weights.preprocessing.resize_px == 40
    assert weights.to_record()["preprocessing"]["mean"] == (0.5, 0.5, 0.5)
    assert str(bundled) not in json.dumps(weights.to_record())


def test_input_px_scales_crop_and_resize_alike(bundled: Path):
    preprocessing = find_weights(params(input_px=64), bundled).preprocessing
    assert (preprocessing.resize_px, preprocessing.crop_px) == (80, 64)


def test_a_record_without_a_fit_means_a_crop_and_stays_as_it_was(bundled: Path):
    """Stores, bundles and models from before there was a choice: the same fingerprint, the same pixels."""
    cropped = find_weights(params(fit="crop"), bundled)
    assert cropped.to_record()["preprocessing"] == PREPROCESSING | {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    old = json.loads(json.dumps(cropped.to_record()))
    assert weights_for(old, bundled).preprocessing.fit == "crop"
    assert weights_from_record(old).preprocessing.fit == "crop"


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_another_fit_is_part_of_the_record(bundled: Path, fit):
    weights = find_weights(params(fit=fit), bundled)
    record = json.loads(json.dumps(weights.to_record()))
    assert record["preprocessing"]["fit"] == fit
    assert fingerprint_of(record) != fingerprint_of(find_weights(params(fit="crop"), bundled).to_record())
    assert weights_for(record, bundled) == weights
    assert weights_from_record(record, weights.path) == weights


def test_views_are_part_of_the_record_where_there_are_several(bundled: Path):
    weights = find_weights(params(), bundled)
    assert "views" not in weights.to_record()
    four = replace(weights, views=4)
    record = json.loads(json.dumps(four.to_record()))
    assert record["views"] == 4
    assert weights_for(record, bundled) == four
    assert weights_from_record(record, four.path) == four


def test_the_white_level_is_part_of_the_record_when_there_is_one(bundled: Path):
    plain, deep = find_weights(params(), bundled), find_weights(params(), bundled, 4095.0)
    assert "white_level" not in plain.to_record()["preprocessing"]
    record = json.loads(json.dumps(deep.to_record()))
    assert fingerprint_of(record) != fingerprint_of(plain.to_record())
    assert weights_for(record, bundled) == weights_from_record(record, deep.path) == deep
    assert deep.preprocessing.white_level == 4095


def test_a_record_finds_the_same_weights_again(bundled: Path):
    weights = find_weights(params(input_px=64), bundled)
    assert weights_for(json.loads(json.dumps(weights.to_record())), bundled) == weights


@pytest.fixture
def blocks(bundled: Path) -> Path:
    """The same folder with a network whose record names the blocks for its features."""
    path = bundled / "deep.safetensors"
    record = {"architecture": "deep", "preprocessing": PREPROCESSING, "layers": ["block3", "block4"]}
    write_arrays({"w": np.arange(6.0)}, path, record | {"pooling": "avg+std"})
    path.with_suffix(".json").write_text(json.dumps({"sha256": sha256(path.read_bytes()).hexdigest()}))
    return bundled


@pytest.mark.parametrize(
    ("name", "layer", "pooling", "expected"),
    [
        ("deep", None, None, (("block3", "block4"), "avg+std")),
        ("deep", None, "max", (("block3", "block4"), "max")),
        ("deep", "block2", None, (("block2",), "avg+std")),
        ("deep", ("block2", "block4"), "avg", (("block2", "block4"), "avg")),
        ("deep", "penultimate", None, (("penultimate",), "avg")),
        ("deep", "penultimate", "max", (("penultimate",), "max")),
        ("tiny", None, None, (("penultimate",), "avg")),
        ("tiny", "block2", None, (("block2",), "avg")),
    ],
)
def test_the_parameters_come_before_the_file_and_a_record_gives_both_back(
    blocks: Path, name: str, layer: object, pooling: str | None, expected: tuple[tuple[str, ...], str]
):
    weights = find_weights(params(name=name, layer=layer, pooling=pooling), blocks)
    assert (weights.layers, weights.pooling) == expected
    assert weights_for(json.loads(json.dumps(weights.to_record())), blocks) == weights


def test_a_local_file_written_by_graft_keeps_its_record(blocks: Path, tmp_path: Path):
    path = blocks / "deep.safetensors"
    weights = find_weights(params(weights=str(path), sha256=sha256(path.read_bytes()).hexdigest()), tmp_path)
    assert (weights.layers, weights.pooling) == (("block3", "block4"), "avg+std")
    assert weights.preprocessing.resize_px == 40


def test_a_file_is_hashed_once(blocks: Path, monkeypatch: pytest.MonkeyPatch):
    hashed = []
    monkeypatch.setattr("stages.graft.storage.hashing.sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    weights = find_weights(params(name="deep"), blocks)
    assert hashed == [weights.path]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (3, r"`backbone\.layer` should be a valid \w+, got 3$"),
        ([], r"`backbone\.layer` .*at least 1 item"),
        ("", r"`backbone\.layer\.0` .*at least 1 character"),
        (["a", 2], r"`backbone\.layer\.1` should be a valid string, got 2$"),
    ],
)
def test_a_wrong_layer_is_explained_once(layer: object, message: str, tmp_path: Path):
    section = {"name": "tiny", "weights": "bundled", "sha256": None, "input_px": None, "layer": layer}
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"backbone": section}))
    with pytest.raises(ParamsError, match=message):
        load_params("backbone", BackboneParams, path)


def test_a_record_of_other_weights_is_refused(bundled: Path):
    record = find_weights(params(), bundled).to_record() | {"sha256": "0" * 64}
    with pytest.raises(WeightsError, match="features were made with 0000"):
        weights_for(record, bundled)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), "damaged or another file"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), "damaged or another file"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1"), "Git-LFS pointer"),
        (lambda path: path.unlink(), "missing; `git checkout"),
    ],
    ids=["flipped", "truncated", "lfs pointer", "missing"],
)
def test_a_damaged_bundled_file_ends_with_one_clear_line(bundled: Path, damage, message: str):
    path = bundled / "tiny.safetensors"
    damage(path)
    with pytest.raises(WeightsError, match=message) as caught:
        find_weights(params(), bundled)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_is_not_bundled_is_refused_with_the_bundled_ones(bundled: Path):
    with pytest.raises(ParamsError, match=r"bundled: tiny.*DEFAULT"):
        find_weights(params(name="vgg19"), bundled)


def test_a_local_file_needs_its_hash_and_is_checked_against_it(bundled: Path, tmp_path: Path):
    path = bundled / "tiny.safetensors"
    digest = sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ParamsError, match=digest):
        find_weights(params(weights=str(path)), tmp_path)
    assert find_weights(params(weights=str(path), sha256=digest), tmp_path).sha256 == digest
    with pytest.raises(WeightsError, match="damaged or another file"):
        find_weights(params(weights=str(path), sha256="0" * 64), tmp_path)


@pytest.mark.parametrize("weights", ["IMAGENET1K_V9", "nonsense", "missing.safetensors", "missing.pth"])
def test_unknown_weights_end_with_one_line(weights: str, tmp_path: Path):
    with pytest.raises(GraftError) as caught:
        find_weights(params(name="resnet18", weights=weights, sha256="0" * 64), tmp_path)
    assert "\n" not in str(caught.value)


def test_random_weights_take_the_networks_published_transforms(tmp_path: Path):
    weights = find_weights(params(name="inception_v3", weights="random"), tmp_path)
    assert weights.path is None
    assert weights.sha256 is None
    assert (weights.preprocessing.resize_px, weights.preprocessing.crop_px) == (342, 299)


def test_an_unknown_network_names_the_nearest(tmp_path: Path):
    with pytest.raises(ParamsError, match="vgg19"):
        find_weights(params(name="vgg91", weights="DEFAULT"), tmp_path)
