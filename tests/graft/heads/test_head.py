import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.graft.core.errors import DataError
from stages.graft.heads.head import HEAD, Head, Softsign, load_head, save_head
from stages.graft.storage.arrays import read_arrays, read_metadata

CLASSES = ("NA", "plate, bent", "Ölfleck")
LINEAR = Head(
    kind="logistic",
    classes=CLASSES,
    layers=((np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32), np.array([0, 0, -1], dtype=np.float32)),),
)
DEEP = Head(
    kind="mlp",
    classes=CLASSES,
    layers=(
        (np.array([[1, 0], [0, -1]], dtype=np.float32), np.array([0, 1], dtype=np.float32)),
        (np.array([[1, 1], [2, 0], [0, 3]], dtype=np.float32), np.array([0, 0, 1], dtype=np.float32)),
    ),
)

WITH_SOFTSIGN = Head(
    kind="lda",
    classes=CLASSES,
    layers=LINEAR.layers,
    softsign=Softsign(weight=np.array([2, 1], dtype=np.float32), bias=np.array([0, -1], dtype=np.float32)),
)


def test_logits_by_hand():
    x = np.array([[2, 3], [-1, 0]], dtype=np.float32)
    assert LINEAR.logits(x).tolist() == [[2, 3, 4], [-1, 0, -2]]
    # Limited: 4 / 5 and 2 / 3; -2 / 3 and -1 / 2.
    np.testing.assert_allclose(WITH_SOFTSIGN.logits(x), [[4 / 5, 2 / 3, 7 / 15], [-2 / 3, -1 / 2, -13 / 6]], rtol=1e-6)
    assert DEEP.logits(x).tolist() == [[2, 4, 1], [1, 0, 4]]  # hidden: (2, -2) and (-1, 1), cut at 0


def test_no_image_gives_no_logits():
    assert LINEAR.logits(np.zeros((0, 2), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("head", [LINEAR, DEEP, WITH_SOFTSIGN])
def test_a_saved_head_comes_back(tmp_path, head):
    save_head(head, tmp_path, {"name": "tiny"})
    again = load_head(tmp_path)
    assert (again.kind, again.classes) == (head.kind, CLASSES)
    assert head.arrays.keys() == again.arrays.keys()
    for name, array in head.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    assert read_metadata(tmp_path / HEAD)["backbone"] == {"name": "tiny"}


def test_names_are_those_of_a_torch_module(tmp_path):
    save_head(DEEP, tmp_path, {})
    assert set(read_arrays(tmp_path / HEAD)) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_names_of_a_softsign_are_refused_by_versions_that_know_none(tmp_path):
    save_head(WITH_SOFTSIGN, tmp_path, {})
    names = [name.removesuffix(".weight") for name in read_arrays(tmp_path / HEAD) if name.endswith(".weight")]
    with pytest.raises(ValueError, match="softsign"):
        [int(name) for name in names]  # what they do


def test_the_same_head_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_head(DEEP, tmp_path / name, {"name": "tiny", "layer": "avgpool"})
    assert (tmp_path / "a" / HEAD).read_bytes() == (tmp_path / "b" / HEAD).read_bytes()


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        load_head(tmp_path)
    save_file({"0.weight": np.zeros((2, 2))}, tmp_path / HEAD)
    with pytest.raises(DataError, match=r"is not a head: '0.bias' is missing"):
        load_head(tmp_path)
