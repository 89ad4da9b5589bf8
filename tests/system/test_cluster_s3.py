"""Two thousand images in S3, their features in S3, two nodes of a cluster between them; and what S3 refuses."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from stages.graft.maintenance.store_checks import damaged_objects
from stages.graft.storage.feature_backends import DAMAGED
from tests.support.clones import Clone
from tests.support.clusters import cluster
from tests.support.pictures import encoded, pixels
from tests.support.s3 import Bucket, bucket_server, use
from tests.support.servers import BUCKET

pytest.importorskip("ray")
pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.ray]

CLASSES, PER_CLASS = ("bump", "crack", "hole", "scratch"), 500
SOURCE, STORE = f"s3://{BUCKET}/plates", f"s3://{BUCKET}/store"
FEATURES = "data/features.safetensors"


@pytest.fixture
def bucket(tmp_path) -> Iterator[Bucket]:
    with bucket_server(tmp_path) as found:
        for number in range(len(CLASSES) * PER_CLASS):
            found.put(f"plates/{CLASSES[number % len(CLASSES)]}/{number}.jpg", encoded(pixels(number, 64, 64), "JPEG"))
        yield found


def digest(clone: Clone) -> str:
    return sha256((clone.folder / FEATURES).read_bytes()).hexdigest()


def stored(bucket: Bucket) -> list[str]:
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="store/")
    return [one["Key"] for page in pages for one in page.get("Contents", ())]


def read(bucket: Bucket, key: str) -> bytes:
    return bytes(bucket.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def test_images_and_features_in_s3(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    clone = Clone(tmp_path)
    clone.environment |= {**bucket.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    use(bucket.environment, monkeypatch)
    clone.set_params("ingest", source=SOURCE, copy=True)
    assert "2000 images, 2000 new" in clone.run("dvc", "repro", "extract")
    copied = digest(clone)

    clone.environment["GRAFT_STORE"] = STORE
    clone.set_params("ingest", source=SOURCE, copy=False)
    clone.set_params("compute", engine="ray", workers=2)
    with cluster() as nodes:
        clone.environment["RAY_ADDRESS"] = nodes.address
        assert "2000 images, 2000 new" in clone.run("dvc", "repro", "extract")
    assert digest(clone) == copied
    assert sum(key.endswith(".safetensors") for key in stored(bucket)) >= 4
    assert list(damaged_objects(STORE)) == []

    clone.set_params("compute", engine="local")
    (clone.folder / FEATURES).unlink()
    assert "2000 images, none new" in clone.run("python", "-m", "stages.extract")
    assert digest(clone) == copied
    assert f"{STORE}: " in clone.run("graft", "store")
    found_damaged(clone, bucket)
    assert digest(clone) == copied
    refused(clone, bucket)
    assert digest(clone) == copied


def found_damaged(clone: Clone, bucket: Bucket) -> None:
    """A flipped byte in the store is found, named by `graft verify`, and set aside; its rows are computed again."""
    fingerprints = [key for key in stored(bucket) if key.endswith("fingerprint.json")]
    [ours] = [key for key in fingerprints if b'"preprocessing"' in read(bucket, key)]  # others are of near-duplicates
    folder = ours.removesuffix("fingerprint.json")
    key = next(key for key in stored(bucket) if key.startswith(folder) and key.endswith(".safetensors"))
    data = bytearray(read(bucket, key))
    data[len(data) // 2] ^= 1
    bucket.put(key, bytes(data))
    assert f"aws s3 rm s3://{BUCKET}/{key}" in clone.run("graft", "verify", code=None)
    output = clone.run("python", "-m", "stages.extract")
    assert f"{key} is damaged" in output
    assert "none new" not in output
    [aside] = [key for key in stored(bucket) if key.endswith(DAMAGED)]
    assert f"aws s3 rm s3://{BUCKET}/{aside}" in clone.run("graft", "verify", code=None)
    bucket.delete(aside)
    assert list(damaged_objects(STORE)) == []


def refused(clone: Clone, bucket: Bucket) -> None:
    """Wrong keys, no bucket, an object that changed: a line each, and every fragment in the store is whole."""
    before = stored(bucket)
    bucket.look_at_keys(0)
    try:
        output = clone.run("python", "-m", "stages.extract", code=1)
    finally:
        bucket.look_at_keys(10**9)
    assert f"extract: error: {STORE}/" in output
    assert "is refused" in output
    clone.environment["GRAFT_STORE"] = "s3://no-such-bucket/store"
    assert "is not there; check the bucket" in clone.run("python", "-m", "stages.extract", code=1)
    assert stored(bucket) == before

    clone.environment["GRAFT_STORE"] = STORE
    assert "none new" in clone.run("python", "-m", "stages.extract")
    clone.set_params("extract", batch_size=5)  # another fingerprint: none of these rows are in the store
    bucket.put(f"plates/{CLASSES[3]}/1999.jpg", encoded(pixels(5000, 64, 64), "JPEG"))
    output = clone.run("python", "-m", "stages.extract", code=1)
    assert f"extract: error: {SOURCE}/{CLASSES[3]}/1999.jpg has changed since it was ingested" in output
    assert not [key for key in stored(bucket) if key.endswith((".tmp", ".damaged"))]
    assert list(damaged_objects(STORE)) == []
