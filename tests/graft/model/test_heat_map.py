"""Heat maps of known maps, the same in numpy and torch, and changed when the head or the network is (Adebayo, 2018)."""

import numpy as np
import pytest
import torch

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.evaluation.explanation import fit_evidence
from stages.graft.model.heat_map import (
    EVIDENCE,
    UNMEASURED,
    Evidence,
    Trust,
    heat_maps,
    load_evidence,
    save_evidence,
    spread_matrix,
)


def place(heat):
    return tuple(int(k) for k in np.unravel_index(heat.argmax(), heat.shape))


def test_the_hottest_place_is_where_the_channel_of_the_class_is_active():
    maps = np.zeros((2, 3, 8, 8), np.float32)
    maps[0, 1, 2, 5] = maps[1, 2, 6, 1] = 1.0
    evidence = Evidence(weights=(np.eye(3, dtype=np.float32),), sides=(8,), agreement=1.0)
    heats = evidence.heat_maps([maps], np.array([1, 2]))
    assert [place(heat) for heat in heats] == [(2, 5), (6, 1)]
    np.testing.assert_allclose(heats.mean(axis=(1, 2)), 0, atol=0.05)
    assert place(evidence.heat_maps([-maps], np.array([1, 2]))[0]) != (2, 5)


def test_every_layer_counts_the_same_whatever_its_scale(rng):
    small, large = (rng.normal(size=(3, 4, side, side)).astype(np.float32) for side in (4, 8))
    weights = tuple(rng.normal(size=(2, 4)).astype(np.float32) for _ in range(2))
    evidence, answers = Evidence(weights=weights, sides=(4, 8), agreement=1.0), np.array([0, 1, 0])
    np.testing.assert_allclose(
        evidence.heat_maps([small, large], answers), evidence.heat_maps([1000 * small, large], answers), atol=1e-4
    )
    one = Evidence(weights=weights[:1], sides=(4,), agreement=1.0)
    assert one.heat_maps([small], answers).shape == (3, 4, 4)


def test_torch_gives_the_heat_maps_of_numpy(rng):
    maps = [rng.normal(size=(3, 5, side, side)).astype(np.float32) for side in (4, 7)]
    weights = [rng.normal(size=(2, 5)).astype(np.float32) for _ in maps]
    spreads, answers = [spread_matrix(7, side) for side in (4, 7)], np.array([1, 0, 1])
    expected = heat_maps(maps, weights, spreads, answers)
    tensors = ([torch.from_numpy(one) for one in some] for some in (maps, weights, spreads))
    np.testing.assert_allclose(heat_maps(*tensors, torch.from_numpy(answers)).numpy(), expected, atol=1e-5)


def test_a_spread_keeps_constants_and_mirrors():
    spread = spread_matrix(28, 7)
    np.testing.assert_allclose(spread.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(spread[::-1, ::-1], spread, atol=1e-6)


def test_a_constant_map_adds_nothing():
    evidence = Evidence(weights=(np.ones((2, 3), np.float32),), sides=(4,), agreement=1.0)
    np.testing.assert_allclose(evidence.heat_maps([np.ones((1, 3, 4, 4), np.float32)], np.array([0])), 0, atol=1e-3)


@pytest.fixture
def shown(rng):
    """Forty images of two classes, which two channels tell apart by what is at one place each."""
    answers = np.arange(40) % 2
    maps = rng.normal(size=(40, 6, 7, 7)).astype(np.float32)
    maps[answers == 0, 2, 1, 1] += 60
    maps[answers == 1, 4, 5, 5] += 60
    return maps, answers.astype(np.int64)


def test_evidence_is_fitted_to_the_answers_and_finds_their_places(shown):
    maps, answers = shown
    evidence = fit_evidence([maps.mean(axis=(2, 3))], [7], answers, 3)
    assert evidence.agreement == 1.0
    assert not evidence.weights[0][2].any()  # a class that is never the answer
    places = [place(heat) for heat in evidence.heat_maps([maps], answers)]
    assert places == [(1, 1), (5, 5)] * 20


def test_heat_maps_change_when_the_models_answers_or_the_networks_maps_are_shuffled(shown, rng):
    maps, answers = shown
    fitted = fit_evidence([maps.mean(axis=(2, 3))], [7], answers, 2)
    heats = fitted.heat_maps([maps], answers)
    random_answers = rng.permutation(answers)  # as of a head with shuffled weights
    other_head = fit_evidence([maps.mean(axis=(2, 3))], [7], random_answers, 2).heat_maps([maps], random_answers)
    other_network = fitted.heat_maps([maps[:, rng.permutation(6)]], answers)
    for other in (other_head, other_network):
        alike = [np.corrcoef(one.ravel(), two.ravel())[0, 1] for one, two in zip(heats, other, strict=True)]
        assert np.mean(alike) < 0.6


def test_a_model_with_one_answer_has_no_evidence_and_no_heat_map(rng):
    evidence = fit_evidence([rng.normal(size=(5, 3)).astype(np.float32)], [7], np.zeros(5, np.int64), 2)
    assert evidence == Evidence(weights=(), sides=(), agreement=0.0)
    with pytest.raises(ParamsError, match="this model has no heat maps"):
        evidence.heat_maps([], np.zeros(0, np.int64))


def test_evidence_comes_back_from_its_file(tmp_path, rng):
    trust = Trust(num_images=4, num_better=3, own_score=0.5, other_score=0.1, is_trusted=False)
    for number, given in enumerate((UNMEASURED, trust)):
        weights = tuple(rng.normal(size=(2, 3)).astype(np.float32) for _ in range(number))
        written = Evidence(weights=weights, sides=(7,) * number, agreement=0.75, trust=given)
        save_evidence(written, tmp_path)
        found = load_evidence(tmp_path)
        assert (found.sides, found.agreement, found.trust) == (written.sides, 0.75, given)
        assert all(np.array_equal(a, b) for a, b in zip(found.weights, weights, strict=True))
    (tmp_path / EVIDENCE).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        load_evidence(tmp_path)
