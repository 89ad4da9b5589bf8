"""The evidence of a real, small model; which images are drawn; what is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.graft.core.errors import ParamsError
from stages.graft.evaluation.explanation import (
    MappedModel,
    explain_model,
    explanation_record,
    find_columns,
    fit_on_images,
    format_explanation,
    sample_ids,
)
from stages.graft.model.bundle import load_bundle
from stages.graft.model.heat_map import Evidence, Trust


@pytest.fixture(scope="module")
def model(bundle_folder):
    bundle = load_bundle(bundle_folder)
    return MappedModel(
        head=bundle.head, runtime=bundle.runtime, preprocessing=bundle.weights.preprocessing, locate=Path
    )


@pytest.fixture(scope="module")
def splits(bundle_folder):
    files = sorted((bundle_folder.parent / "pictures").rglob("*.png"))
    return pd.DataFrame(
        {
            "id": [str(path) for path in files],
            "label": [path.parent.name for path in files],
            "split": ["train" if number % 4 else "val" for number in range(len(files))],
        }
    )


def test_a_models_heat_maps_are_measured_and_the_same_every_time(model, splits):
    evidence = explain_model(model, splits, 4)
    assert evidence.sides == (3,)
    assert evidence.agreement > 0.9
    assert evidence.trust.num_images == 4
    again = explain_model(model, splits, 4)
    assert again.trust == evidence.trust
    assert all(np.array_equal(a, b) for a, b in zip(again.weights, evidence.weights, strict=True))
    assert explain_model(model, splits, 0).trust.num_images == 0


def test_probabilities_do_not_depend_on_the_batches(model, rng):
    squares = rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    alone = np.concatenate([model.probabilities(squares[k : k + 1]) for k in range(6)])
    np.testing.assert_allclose(model.probabilities(squares), alone, rtol=1e-4)


def test_a_network_without_maps_gives_no_evidence(model, splits):
    class NoMaps:
        record = model.runtime.record

        def load_maps(self):
            raise ParamsError("no maps")

    evidence = explain_model(replace(model, runtime=NoMaps()), splits, 4)
    assert evidence.weights == ()
    assert format_explanation(evidence).startswith("no heat maps: the network gives no maps")


def test_averages_are_taken_from_features_that_hold_them(model, splits):
    features = {id_: model.runtime.load()(model.read([id_]))[0] for id_ in splits["id"]}

    def known(ids):
        return np.stack([features[id_] for id_ in ids])

    ids = sample_ids(splits, "train", 20, 60)
    computed, taken = fit_on_images(model, ids), fit_on_images(replace(model, known=known), ids)
    assert taken.agreement == computed.agreement > 0.9
    assert taken.sides == computed.sides
    for a, b in zip(taken.weights, computed.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.01, atol=1e-4)


def test_columns_are_found_where_they_are_and_nowhere_else(rng):
    x = rng.normal(size=(4, 30)).astype(np.float32)
    assert find_columns(x, x[:, 7:12] * 1.0001) == slice(7, 12)
    assert find_columns(x, x[:, 28:]) == slice(28, 30)
    other = x[:, 7:12].copy()
    other[2, 3] += 1
    assert find_columns(x, other) is None
    assert find_columns(x[:, :10], x[:, 7:12]) is None


def test_images_are_drawn_evenly_from_the_classes():
    splits = pd.DataFrame(
        {"id": list("hgfedcba"), "label": ["x"] * 5 + ["y"] * 2 + ["x"], "split": ["train"] * 7 + ["val"]}
    )
    assert sample_ids(splits, "train", 2, 10) == ["b", "d", "c", "e"]
    assert sample_ids(splits, "train", 2, 3) == ["b", "d", "c"]
    assert sample_ids(splits, "val", 2, 0) == []


@pytest.mark.parametrize(
    ("trust", "words"),
    [
        (Trust(num_images=0, num_better=0, own_score=0, other_score=0, is_trusted=False), "not measured whether"),
        (Trust(num_images=9, num_better=9, own_score=1, other_score=0, is_trusted=True), "9 of 9 beat the heat map"),
        (Trust(num_images=9, num_better=5, own_score=1, other_score=0, is_trusted=False), "no better than chance"),
    ],
)
def test_it_is_said_whether_they_can_be_trusted(trust, words):
    evidence = Evidence(weights=(np.zeros((2, 3), np.float32),), sides=(7,), agreement=1.0, trust=trust)
    assert words in format_explanation(evidence)
    record = explanation_record(evidence)
    assert record["is_trusted"] == trust.is_trusted
    assert record["share_better"] == (None if not trust.num_images else round(trust.num_better / 9, 6))
