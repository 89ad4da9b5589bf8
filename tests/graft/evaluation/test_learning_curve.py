import numpy as np
import pytest

from stages.graft.evaluation import learning_curve
from stages.graft.evaluation.learning_curve import forecast_record, format_forecast, measure_curve
from stages.graft.heads.features import select_rows
from tests.support.features import feature_set, sparse_features


def test_more_labels_classify_more(rng):
    points = measure_curve(sparse_features(rng, 20), 0)
    assert points.sizes.round().tolist() == [8, 16, 36, 72]  # of 80 labels, a tenth is left out
    assert points.correct.shape == (4, 80)
    shares = points.correct.mean(axis=1)
    assert shares[0] < shares[-1]


def test_a_rare_class_does_not_decide_on_the_number_of_parts(rng):
    images = sparse_features(rng, 20)
    rows = np.arange(len(images.y) - 18)  # of the last class, two images
    points = measure_curve(select_rows(images, rows), 0)
    assert points.sizes[-1] == pytest.approx(0.9 * 62, abs=0.5)
    assert points.correct.shape[1] == 62


def test_the_record_says_what_more_labels_bring(rng):
    images = sparse_features(rng, 20)
    record = forecast_record(images, np.arange(80), 0.9, 0)
    assert record == forecast_record(images, np.arange(80), 0.9, 0)
    assert record["num_labels"] == 80
    whole = record["all"]
    assert whole["now"]["low"] <= whole["now"]["middle"] <= whole["accuracy_with"]["2"]["middle"]
    assert whole["gain_with"]["4"]["middle"] >= whole["gain_with"]["2"]["middle"] >= 0
    assert len(record["weakest"]) == 3
    assert format_forecast(record).startswith("with 2 times the labels ")


def test_too_few_labels_say_nothing():
    record = forecast_record(feature_set([0.0, 1.0, 0.1], [0, 1, 0]), np.arange(3), 0.9, 0)
    assert record["all"] is None
    assert format_forecast(record) == "too few labels to say what more would bring"


def test_a_high_target_has_no_number():
    rng = np.random.default_rng(1)
    record = forecast_record(sparse_features(rng, 12), np.arange(48), 0.999, 0)
    labels = record["all"]["labels_for_target"]
    assert labels == "reached" or "cannot be said: above 97% the curve is too flat" in labels


def test_images_that_are_not_usable_play_no_part(rng):
    images = sparse_features(rng, 20)
    usable = np.flatnonzero(np.arange(80) % 4)
    record = forecast_record(images, usable, 0.9, 0)
    assert record == forecast_record(select_rows(images, usable), np.arange(60), 0.9, 0)
    assert record["num_labels"] == 60


def test_of_many_images_a_sample_takes_part(rng, monkeypatch):
    images, usable = sparse_features(rng, 30), np.arange(120)
    monkeypatch.setattr(learning_curve, "MAX_IMAGES", 120)
    assert forecast_record(images, usable, 0.9, 0) == forecast_record(images, usable, 0.9, 0)
    monkeypatch.setattr(learning_curve, "MAX_IMAGES", 60)
    fitted = []
    monkeypatch.setattr(learning_curve, "_score", lambda _, rows, out: fitted.append(len(rows)) or np.ones(len(out)))
    assert forecast_record(images, usable, 0.9, 0)["num_labels"] == 120
    assert max(fitted) <= 60
