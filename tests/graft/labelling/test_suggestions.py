import numpy as np
import pytest

from stages.graft.labelling.clusters import cluster_numbers, find_clusters, typicality
from stages.graft.labelling.similarity import place_on_sphere
from stages.graft.labelling.suggestions import Pool, suggest

SIZES = (40, 30, 20, 10)


@pytest.fixture
def blobs(rng):
    """Four kinds of images, and their numbers."""
    kinds = np.repeat(np.arange(4), SIZES)
    return (rng.normal(size=(100, 16), scale=0.3) + 6 * np.eye(16)[kinds]).astype(np.float32), kinds


def pool(x, labels=None, candidates=None):
    labels = [""] * len(x) if labels is None else labels
    is_free = np.array([not label for label in labels])
    return Pool(x=x, labels=labels, is_candidate=is_free if candidates is None else is_free & candidates)


def test_without_labels_every_kind_comes_first(blobs):
    x, kinds = blobs
    found = suggest(pool(x), 4)
    assert sorted(kinds[[one.row for one in found.suggestions]]) == [0, 1, 2, 3]
    assert [len(cluster.rows) for cluster in found.clusters] == list(SIZES)
    assert {one.reason for one in found.suggestions} == {
        f"typical of cluster {number} ({size} images), where nothing is labelled"
        for number, size in enumerate(SIZES, 1)
    }
    assert found.suggestions[0].guess == ""


def test_with_labels_the_unsure_ones_come_and_no_labelled_one(blobs, rng):
    x, kinds = blobs
    x[3] = (x[45] + x[3]) / 2  # between the first two kinds, the cover of which is complete
    labels = ["" for _ in kinds]
    for row in (0, 1, 2, 40, 41, 42, 70, 71, 72):
        labels[row] = f"kind {kinds[row]}"
    found = suggest(pool(x, labels), 8)
    rows = [one.row for one in found.suggestions]
    assert not {row for row in rows if labels[row]}
    assert any("kind" in one.guess for one in found.suggestions)
    assert any(one.reason.startswith(("between", "typical of cluster 4")) for one in found.suggestions)
    assert np.isin(rows, np.flatnonzero(kinds == 3)).any()  # nobody has labelled the last kind


def test_the_same_images_give_the_same_suggestions(blobs):
    x, _ = blobs
    assert suggest(pool(x), 6).suggestions == suggest(pool(x.copy()), 6).suggestions


def test_only_candidates_are_suggested(blobs):
    x, kinds = blobs
    found = suggest(pool(x, candidates=kinds == 2), 50)
    assert {one.row for one in found.suggestions} == set(np.flatnonzero(kinds == 2).tolist())


def test_an_odd_image_is_called_odd(blobs):
    x, _ = blobs
    x[99] = 6 * np.eye(16)[15]
    reasons = {one.row: one.reason for one in suggest(pool(x), 100).suggestions}
    assert [row for row, reason in reasons.items() if reason == "unlike anything else"] == [99]


def test_a_rare_class_is_named(blobs):
    x, kinds = blobs
    labels = ["" for _ in kinds]
    for row in (*range(10), *range(40, 50), 70):
        labels[row] = f"kind {kinds[row]}"
    reasons = [one.reason for one in suggest(pool(x, labels), 30).suggestions]
    assert "likely kind 2, a class with 1 labels" in reasons


@pytest.mark.parametrize("num_images", [1, 2, 3, 4])
def test_few_images_are_no_error(num_images, rng):
    x = rng.normal(size=(num_images, 5)).astype(np.float32)
    assert len(suggest(pool(x), 2).suggestions) == min(2, num_images)


def test_clusters_hold_every_image_once_and_the_centre_is_typical(blobs):
    points = place_on_sphere(blobs[0])
    clusters = find_clusters(points)
    assert sorted(row for cluster in clusters for row in cluster.rows.tolist()) == list(range(100))
    assert cluster_numbers(clusters)[clusters[2].rows[0]] == 2
    corner = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]], dtype=np.float32)
    assert set(np.argsort(-typicality(corner, np.arange(4)))[:2]) == {2, 3}
