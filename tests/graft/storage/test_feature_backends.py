"""The feature store in S3, on a server on this machine: what a folder gives, and one line for what S3 refuses."""

import json
import re
from hashlib import sha256

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import pack_ids
from stages.graft.maintenance.store_checks import damaged_objects
from stages.graft.storage.arrays import read_arrays, read_metadata, write_arrays
from stages.graft.storage.feature_backends import FolderBackend, S3Backend, open_backend
from stages.graft.storage.feature_store import FeatureStore, Fragment
from stages.graft.storage.s3 import UnreachableError
from tests.graft.storage.test_feature_store import ids_of, rows_of
from tests.support.features import rows_in
from tests.support.servers import BUCKET

pytest.importorskip("s3fs", reason="the extra s3 is not installed")

RECORD = {"weights": "abc", "name": "é"}


@pytest.fixture
def root(bucket, request):
    """An empty place in the bucket."""
    return f"s3://{BUCKET}/{sha256(request.node.name.encode()).hexdigest()[:8]}"


def objects(bucket, root):
    """What is below an address: key after it to bytes."""
    prefix = root.removeprefix(f"s3://{BUCKET}/") + "/"
    found = bucket.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
    keys = [one["Key"] for one in found]
    return {key[len(prefix) :]: bucket.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def test_a_root_is_a_folder_or_an_address(tmp_path):
    assert open_backend(tmp_path, "f" * 32) == FolderBackend(tmp_path / ("f" * 32))
    assert open_backend("s3://b/a/", "f" * 32) == S3Backend("s3://b/a/" + "f" * 32)


def test_the_files_in_s3_are_those_of_a_folder_and_are_found_again(bucket, root, tmp_path):
    for place in (root, tmp_path):
        store = FeatureStore(place, RECORD)
        store.add(ids_of(1, 2), rows_of(1, 2))
        store.add(ids_of(3), rows_of(3))
    on_disk = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.name[0] != "."}
    assert objects(bucket, root) == {name: path.read_bytes() for name, path in on_disk.items() if path.is_file()}
    again = FeatureStore(root, RECORD)
    assert again.missing(ids_of(3, 4, 1)) == ids_of(4)
    np.testing.assert_array_equal(rows_in(again, ids_of(3, 1, 2)), rows_of(3, 1, 2))
    assert again.pack(ids_of(2, 3), tmp_path / "packed", {"a": 1}) == 2
    np.testing.assert_array_equal(read_arrays(tmp_path / "packed")["features"], rows_of(2, 3))
    assert FeatureStore(root, {**RECORD, "name": "e"}).missing(ids_of(1)) == ids_of(1)


def test_fragments_are_safetensors_files_as_they_always_were(tmp_path):
    store = FeatureStore(tmp_path, RECORD)
    store.add(ids_of(1, 2), rows_of(1, 2))
    (path,) = tmp_path.rglob("*.safetensors")
    write_arrays({"ids": pack_ids(ids_of(1, 2)), "features": rows_of(1, 2)}, tmp_path / "as they were")
    assert path.read_bytes() == (tmp_path / "as they were").read_bytes()
    assert read_metadata(path) == {}


@pytest.mark.parametrize("change", [lambda data: data[:-3], lambda data: b"\xff" * 8 + data[8:], lambda data: b""])
def test_a_fragment_that_cannot_be_read_is_set_aside(bucket, root, capsys, change):
    store = FeatureStore(root, RECORD)
    store.add(ids_of(1), rows_of(1))
    (name,) = store.backend.names()
    store.add(ids_of(2), rows_of(2))
    bucket.put(store.backend.address(name).removeprefix(f"s3://{BUCKET}/"), change(store.backend.read(name)))
    assert FeatureStore(root, RECORD).missing(ids_of(1, 2)) == ids_of(1)
    assert re.search(
        f"store: fragment {store.backend.address(name)} cannot be read .+ set aside", capsys.readouterr().err
    )
    assert len(store.backend.names()) == 1
    (found,) = damaged_objects(root)
    assert found[0] == store.backend.address(name).replace(".safetensors", ".damaged")


def test_a_flipped_byte_is_not_served_and_is_found(bucket, root, tmp_path):
    store = FeatureStore(root, RECORD)
    store.add(ids_of(1), rows_of(1))
    (name,) = store.backend.names()
    assert list(damaged_objects(root)) == []
    data = bytearray(store.backend.read(name))
    data[-40] ^= 1  # of the features
    bucket.put(store.backend.address(name).removeprefix(f"s3://{BUCKET}/"), bytes(data))
    with pytest.raises(DataError, match=rf"{name} is damaged: its bytes do not fit its name"):
        store.pack(ids_of(1), tmp_path / "packed", {})
    assert not (tmp_path / "packed").exists()
    assert Fragment(store.backend, name).problem() is not None
    assert [address for address, _ in damaged_objects(root)] == [store.backend.address(name)]


def test_a_changed_record_is_found(bucket, root):
    store = FeatureStore(root, RECORD)
    for data in (json.dumps({**RECORD, "weights": "b"}).encode(), b"\xff{"):
        bucket.put(store.backend.address("fingerprint.json").removeprefix(f"s3://{BUCKET}/"), data)
        assert [address for address, _ in damaged_objects(root)] == [store.backend.address("fingerprint.json")]


def test_a_refusal_of_s3_is_one_line(bucket, root):
    with pytest.raises(UnreachableError, match=r"s3://no-such-bucket/.+fingerprint\.json is not there; check the bu"):
        FeatureStore("s3://no-such-bucket/store", RECORD)
    store = FeatureStore(root, RECORD)
    bucket.look_at_keys(0)
    try:
        with pytest.raises(UnreachableError, match=r"is refused .+right credentials, and do they allow that"):
            FeatureStore(root, RECORD)
        with pytest.raises(UnreachableError, match="is refused"):
            store.add(ids_of(1), rows_of(1))
    finally:
        bucket.look_at_keys(10**9)
    assert store.backend.names() == []
