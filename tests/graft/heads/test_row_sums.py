import numpy as np
import pytest

from stages.graft.core import threads
from stages.graft.heads.row_sums import sum_rows
from stages.graft.storage.arrays import ROWS_PER_BLOCK


@pytest.mark.parametrize("num_rows", [0, 5, ROWS_PER_BLOCK, 3 * ROWS_PER_BLOCK + 1])
def test_every_row_counts_once(num_rows):
    values = np.arange(num_rows)
    count, total = sum_rows(lambda rows: (len(values[rows]), values[rows].sum()), num_rows)
    assert (count, total) == (num_rows, num_rows * (num_rows - 1) // 2)


def test_the_number_of_threads_changes_no_bit(rng, monkeypatch):
    x = rng.normal(size=(5 * ROWS_PER_BLOCK, 3)).astype(np.float32)
    found = []
    for number in (1, 2, 5):
        monkeypatch.setattr(threads, "num_cpus", lambda number=number: number)
        found.append(sum_rows(lambda rows: (x[rows].T @ x[rows],), len(x))[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], x.T @ x, rtol=1e-3)
