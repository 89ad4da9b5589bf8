import numpy as np
import pytest

from stages.graft.metrics.sampling import deal_folds, draw_rows, stratified_rows

Y = np.array([0] * 60 + [1] * 30 + [2] * 10)


def test_few_rows_are_all_taken():
    assert stratified_rows(Y, 100).tolist() == list(range(100))


def test_a_share_of_every_class(rng):
    y = rng.permutation(Y)
    rows = stratified_rows(y, 20)
    assert len(rows) == 20
    assert rows.tolist() == sorted(set(rows.tolist()))
    np.testing.assert_allclose(np.bincount(y[rows]), [12, 6, 2], atol=1)


def test_no_class_is_lost():
    y = np.array([0] * 50 + [1] + [2] * 50)
    assert set(y[stratified_rows(y, 4)]) == {0, 1, 2}


def test_drawn_rows_are_of_every_class_as_far_as_there_are_some(rng):
    rows = draw_rows(Y, 12, rng)
    assert np.bincount(Y[rows]).tolist() == [12, 12, 10]
    assert len(set(rows.tolist())) == 34
    assert draw_rows(Y, 12, np.random.default_rng(1)).tolist() != draw_rows(Y, 12, np.random.default_rng(2)).tolist()


@pytest.mark.parametrize("num_folds", [2, 5, 7])
def test_folds_have_equal_shares_of_every_class(num_folds, rng):
    y = rng.permutation(Y)
    folds = deal_folds(y, [""] * len(y), num_folds)
    for k in range(3):
        counts = np.bincount(folds[y == k], minlength=num_folds)
        assert counts.max() - counts.min() <= 1


def test_a_group_stays_in_one_fold():
    groups = ["plate 1", "", "plate 1", "plate 2", "", "plate 2", "plate 1", ""]
    folds = deal_folds(np.array([0, 0, 0, 0, 1, 1, 1, 1]), groups, 2)
    assert folds[0] == folds[2] == folds[6]
    assert folds[3] == folds[5]
    assert set(folds.tolist()) == {0, 1}
