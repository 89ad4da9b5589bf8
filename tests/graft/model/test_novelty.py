import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from stages.graft.core.errors import DataError
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import area_under_roc
from stages.graft.model.novelty import MAX_COMPONENTS, WEIGHT_OUTSIDE, fit_novelty, shrunk_covariance


def clouds(rng, per_class, num_classes=3, num_features=300):
    """Round clouds around class means, with features that vary together."""
    y = np.repeat(np.arange(num_classes), per_class)
    means = np.random.default_rng(3).normal(size=(num_classes, num_features)) * 2
    mixing = np.random.default_rng(4).normal(size=(20, num_features))
    spread = rng.normal(size=(len(y), 20)) @ mixing + rng.normal(size=(len(y), num_features))
    return (means[y] + spread).astype(np.float32), y


@pytest.mark.parametrize("shape", [(200, 5), (40, 60), (2, 3)])
def test_the_covariance_is_ledoit_and_wolfs(rng, shape):
    x = rng.normal(size=shape) * rng.uniform(0.1, 3, shape[1])
    np.testing.assert_allclose(shrunk_covariance(x), ledoit_wolf(x, assume_centered=True)[0], rtol=1e-9)


def test_distances_weigh_directions_between_classes_more_than_others(rng):
    x, y = clouds(rng, 50, num_features=6)
    new = x[:10] + 1
    standardisation = fit_standardisation(x)
    z, new_z = standardisation.apply(x).astype(float), standardisation.apply(new).astype(float)
    means = np.stack([z[y == k].mean(axis=0) for k in range(3)])
    whitening = np.linalg.cholesky(np.linalg.inv(ledoit_wolf(z - means[y], assume_centered=True)[0]))
    span = np.linalg.qr(((means[:2] - means[2]) @ whitening).T)[0]  # of the means: 2 of 6 directions
    gaps = (new_z[:, None] - means) @ whitening
    inside, everywhere = np.square(gaps @ span).sum(axis=2), np.square(gaps).sum(axis=2)
    squares = inside + WEIGHT_OUTSIDE * (everywhere - inside)
    expected = np.sqrt(squares.min(axis=1) / (2 + 4 * WEIGHT_OUTSIDE))
    np.testing.assert_allclose(fit_novelty(x, y).distances(new), expected, rtol=1e-4)


def test_one_class_is_enough(rng):
    x, _ = clouds(rng, 50, num_classes=1)
    detector = fit_novelty(x, np.zeros(50, dtype=np.int64))
    assert area_under_roc(detector.distances(clouds(rng, 50, 1)[0]), detector.distances(x + 20)) > 0.99


@pytest.mark.parametrize("per_class", [1, 3, 100])
def test_out_of_distribution_images_are_farther_than_new_ones_of_the_classes(rng, per_class):
    detector = fit_novelty(*clouds(rng, per_class))
    assert detector.projection.shape == (300, MAX_COMPONENTS)
    inside = detector.distances(clouds(rng, 50)[0])
    outside = detector.distances((rng.normal(size=(100, 300)) * 5).astype(np.float32))
    assert area_under_roc(inside, outside) > {1: 0.7, 3: 0.9, 100: 0.99}[per_class]


def test_in_distribution_images_are_at_a_distance_of_about_1(rng):
    detector = fit_novelty(*clouds(rng, 300, num_features=20))
    squares = np.square(detector.distances(clouds(rng, 100, num_features=20)[0]))
    assert squares.mean() == pytest.approx(1, abs=0.15)


def test_a_class_without_images_is_left_out(rng):
    x, y = clouds(rng, 20)
    present = y != 1
    with_gap, without = fit_novelty(x[present], y[present]), fit_novelty(x[present], y[present] // 2)
    assert with_gap.centres.shape == (2, MAX_COMPONENTS)
    np.testing.assert_array_equal(with_gap.distances(x), without.distances(x))


def test_the_same_images_give_the_same_bits(rng):
    x, y = clouds(rng, 20)
    first, second = fit_novelty(x, y), fit_novelty(x, y)
    assert first.projection.tobytes() == second.projection.tobytes()
    assert first.centres.tobytes() == second.centres.tobytes()


def test_features_that_never_vary_are_no_obstacle(rng):
    x, y = clouds(rng, 10, num_features=4)
    constant = np.hstack([x, np.full((len(x), 3), 2.5, dtype=np.float32)])
    assert np.isfinite(fit_novelty(constant, y).distances(constant)).all()
    assert np.isfinite(fit_novelty(np.ones((6, 4), dtype=np.float32), np.arange(6) % 2).distances(x)).all()


def test_a_feature_that_is_no_number_is_an_error(rng):
    x, y = clouds(rng, 5)
    x[0, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        fit_novelty(x, y)
