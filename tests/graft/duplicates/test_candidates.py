import numpy as np
import pytest

from stages.graft.duplicates.candidates import LEAST_COSINE, NUM_NEIGHBOURS, candidate_pairs


def summaries(num, rng):
    x = rng.normal(size=(num, 256))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


def test_near_summaries_are_candidates_in_order(rng):
    x = summaries(300, rng)
    x[200] = x[7]
    x[201] = x[9] + rng.normal(size=256).astype(np.float16) * 0.02
    pairs = candidate_pairs(x)
    assert [7, 200] in pairs.tolist()
    assert [9, 201] in pairs.tolist()
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.tolist() == sorted(pairs.tolist())
    assert np.bincount(pairs.ravel()).max() < 300
    assert len(pairs) <= NUM_NEIGHBOURS * len(x)


@pytest.mark.parametrize("num", [30, 129, 900])
def test_the_neighbours_are_the_nearest(num, rng):
    x = summaries(num, rng).astype(np.float32)
    x[:, 0] += 0.3 * rng.integers(0, 3, num)  # some are alike
    cosines = x @ x.T
    np.fill_diagonal(cosines, -1)
    nearest = np.argsort(-cosines, axis=1)[:, :NUM_NEIGHBOURS]
    expected = {(min(i, j), max(i, j)) for i, row in enumerate(nearest) for j in row if cosines[i, j] >= LEAST_COSINE}
    assert set(map(tuple, candidate_pairs(x).tolist())) == {(int(i), int(j)) for i, j in expected}
    assert expected


def test_few_images(rng):
    assert candidate_pairs(summaries(0, rng)).shape == (0, 2)
    assert candidate_pairs(summaries(1, rng)).shape == (0, 2)
    twins = np.repeat(summaries(3, rng), 2, axis=0)
    assert {(0, 1), (2, 3), (4, 5)} <= set(map(tuple, candidate_pairs(twins).tolist()))


def test_a_second_look_finds_the_same(rng):
    x = summaries(500, rng)
    assert candidate_pairs(x).tolist() == candidate_pairs(x).tolist()
