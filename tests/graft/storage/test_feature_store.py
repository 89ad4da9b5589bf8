"""The feature store: what is added is found again, bit for bit, by any process, and damage is noticed."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import pack_ids, unpack_ids
from stages.graft.storage.feature_store import FeatureStore
from tests.support.features import rows_in, write_features

RECORD = {"weights": "abc", "batch_size": 32}


def ids_of(*numbers: int) -> list[str]:
    return [sha256(bytes([number])).hexdigest() for number in numbers]


def rows_of(*numbers: int) -> np.ndarray:
    return np.array([[number, number / 3] for number in numbers], dtype=np.float32)


def test_ids_survive_packing():
    ids = ids_of(0, 1, 255)
    assert unpack_ids(pack_ids(ids)) == ids
    assert pack_ids([]).shape == (0, 32)


def test_an_empty_store_has_no_row(tmp_path: Path):
    store = FeatureStore(tmp_path, RECORD)
    assert store.missing(ids_of(1, 2)) == ids_of(1, 2)


def test_rows_come_back_in_the_order_asked_for_across_fragments(tmp_path: Path):
    store = FeatureStore(tmp_path, RECORD)
    store.add(ids_of(1, 2), rows_of(1, 2))
    store.add(ids_of(3), rows_of(3))
    for again in (store, FeatureStore(tmp_path, RECORD)):
        assert again.missing(ids_of(3, 4, 1)) == ids_of(4)
        np.testing.assert_array_equal(rows_in(again, ids_of(3, 1, 2)), rows_of(3, 1, 2))


def test_another_record_is_another_folder(tmp_path: Path):
    FeatureStore(tmp_path, RECORD).add(ids_of(1), rows_of(1))
    assert FeatureStore(tmp_path, {**RECORD, "batch_size": 16}).missing(ids_of(1)) == ids_of(1)


def test_the_record_is_readable_beside_the_fragments(tmp_path: Path):
    store = FeatureStore(tmp_path, RECORD)
    assert json.loads((store.backend.path / "fingerprint.json").read_text()) == RECORD


def test_a_damaged_fragment_is_named_and_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = FeatureStore(tmp_path, RECORD)
    store.add(ids_of(1), rows_of(1))
    (fragment,) = store.backend.path.glob("*.safetensors")
    store.add(ids_of(2), rows_of(2))
    fragment.write_bytes(fragment.read_bytes()[:-3])
    again = FeatureStore(tmp_path, RECORD)
    assert again.missing(ids_of(1, 2)) == ids_of(1)
    assert fragment.name in capsys.readouterr().err
    assert fragment.with_suffix(".damaged").exists()


def test_a_flipped_byte_in_a_fragment_is_not_served(tmp_path: Path):
    store = FeatureStore(tmp_path, RECORD)
    store.add(ids_of(1), rows_of(1))
    (fragment,) = store.backend.path.glob("*.safetensors")
    content = bytearray(fragment.read_bytes())
    content[-1] ^= 1
    fragment.write_bytes(bytes(content))
    with pytest.raises(DataError, match=fragment.name):
        rows_in(store, ids_of(1))


def test_four_writers_at_once_lose_nothing(tmp_path: Path):
    def write(number: int) -> None:
        FeatureStore(tmp_path, RECORD).add(ids_of(number, 99), rows_of(number, 99))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(20)))
    store = FeatureStore(tmp_path, RECORD)
    assert store.missing(ids_of(*range(20), 99)) == []
    np.testing.assert_array_equal(rows_in(store, ids_of(7, 99)), rows_of(7, 99))
    assert not list(tmp_path.rglob("*.tmp"))


def test_ids_and_rows_must_be_as_many(tmp_path: Path):
    with pytest.raises(ValueError, match="2 ids, but 1 rows"):
        FeatureStore(tmp_path, RECORD).add(ids_of(1, 2), rows_of(1))


def test_packed_bytes_do_not_depend_on_the_fragments(tmp_path):
    store = FeatureStore(tmp_path, RECORD)
    for part in ((5, 1, 9), (2,), (8, 3, 4, 7), (6,)):
        store.add(ids_of(*part), rows_of(*part))
    order = (9, 1, 2, 3, 8, 7, 5, 4)
    assert store.pack(ids_of(*order), tmp_path / "packed", {"backbone": {"é": [1]}}) == rows_of(1).shape[1]
    write_features(ids_of(*order), rows_of(*order), {"é": [1]}, tmp_path / "whole")
    assert (tmp_path / "packed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_damaged_fragment_leaves_no_packed_file(tmp_path):
    store = FeatureStore(tmp_path / "store", RECORD)
    store.add(ids_of(1, 2), rows_of(1, 2))
    (fragment,) = (tmp_path / "store").rglob("*.safetensors")
    content = fragment.read_bytes()
    fragment.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="damaged"):
        store.pack(ids_of(1, 2), tmp_path / "packed", {})
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
