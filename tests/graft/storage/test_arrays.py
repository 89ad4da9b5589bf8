"""Arrays in files: mapped without a copy, and some rows at a time."""

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.storage.arrays import map_array, read_arrays, row_blocks, write_arrays

X = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("rows", [4, 1, 0])
def test_a_mapped_array_is_the_one_that_was_written(tmp_path, rows):
    path = tmp_path / "x.safetensors"
    write_arrays({"a": np.arange(5, dtype=np.uint8), "x": X[:rows]}, path, {"n": rows})
    np.testing.assert_array_equal(map_array(path, "x"), X[:rows], strict=True)
    np.testing.assert_array_equal(map_array(path, "x"), read_arrays(path)["x"], strict=True)


def test_what_is_mapped_cannot_be_changed(tmp_path):
    write_arrays({"x": X}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="read-only"):
        map_array(tmp_path / "x.safetensors", "x")[0, 0] = 1


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    write_arrays({"x": np.where(X == 7, np.nan, X)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="the numbers of x are not all finite"):
        map_array(tmp_path / "x.safetensors", "x")


def test_a_cut_file_is_refused(tmp_path):
    write_arrays({"x": X}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:-4])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        map_array(tmp_path / "x.safetensors", "x")


def test_blocks_cover_all_rows():
    assert [*row_blocks(7, 3)] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert [*row_blocks(6, 3)] == [slice(0, 3), slice(3, 6)]
    assert [*row_blocks(0)] == [slice(0, 0)]
