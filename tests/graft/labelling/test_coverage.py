import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.graft.labelling.coverage import choose_covering
from stages.graft.labelling.similarity import Similarities, compare_images, evenly, place_on_sphere


def similar(matrix):
    return Similarities(matrix=np.array(matrix, dtype=np.float32), references=np.arange(len(matrix[0])))


LINE = [[1, 0.9, 0, 0], [0.9, 1, 0.5, 0], [0, 0.5, 1, 0], [0, 0, 0, 1]]
"""The second image covers 2.4, the others less; then the fourth adds 1, the third 0.5."""


def test_by_hand():
    assert choose_covering(similar(LINE), np.arange(4), np.array([], dtype=int), 4) == [1, 3, 2, 0]
    assert choose_covering(similar(LINE), np.arange(4), np.array([3]), 2) == [1, 2]
    assert choose_covering(similar(LINE), np.array([0, 2]), np.array([], dtype=int), 9) == [0, 2]


def test_weights_decide_what_counts():
    only_third = np.array([0.0, 0.0, 1.0, 0.0])
    assert choose_covering(similar(LINE), np.arange(4), np.array([], dtype=int), 1, only_third) == [2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 700), st.integers(1, 12))
def test_the_lazy_choice_is_the_plain_greedy_one(seed, num_images, number):
    rng = np.random.default_rng(seed)
    matrix = rng.random((num_images, 20)).astype(np.float32)
    chosen = choose_covering(
        Similarities(matrix=matrix, references=np.arange(20)), np.arange(num_images), np.array([], dtype=int), number
    )
    covered, left, expected = np.zeros(20, np.float32), set(range(num_images)), []
    for _ in range(min(number, num_images)):
        gains = {row: float(np.maximum(matrix[row] - covered, 0).sum()) for row in left}
        best = max(gains.values())
        assert gains[chosen[len(expected)]] > best - 1e-4
        expected.append(chosen[len(expected)])
        left.remove(expected[-1])
        covered = np.maximum(covered, matrix[expected[-1]])
    assert len(set(chosen)) == len(chosen) == min(number, num_images)


def test_points_are_on_a_sphere_and_near_ones_are_similar(rng):
    x = np.concatenate([rng.normal(size=(30, 8)) + 5 * np.eye(8)[k] for k in range(3)]).astype(np.float32)
    points = place_on_sphere(x)
    assert np.allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    matrix = compare_images(points).matrix
    assert np.allclose(np.diag(matrix), 1, atol=1e-3)
    assert matrix[:30, :30].mean() > 2 * matrix[:30, 30:].mean()


def test_equal_images_are_no_error():
    points = place_on_sphere(np.ones((4, 3), np.float32))
    assert np.isfinite(compare_images(points).matrix).all()


def test_evenly():
    assert evenly(3, 5).tolist() == [0, 1, 2]
    assert evenly(9, 3).tolist() == [0, 4, 8]
