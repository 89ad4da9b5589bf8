"""The whole pipeline on images that stay in S3, through DVC: what copies give, and what happens when one changes."""

import pytest

from stages.graft.data.manifest import read_manifest
from tests.support.clones import Clone
from tests.support.packed import packed_images
from tests.support.pictures import encoded, pixels
from tests.support.s3 import Bucket, bucket_server
from tests.support.servers import BUCKET

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytestmark = pytest.mark.s3

CLASSES = ("bump", "hole", "scratch")
PER_CLASS = 100


def picture(label: str, number: int) -> bytes:
    """Noise, brighter in each class."""
    brightness = 0.6 + 0.7 * CLASSES.index(label)
    return encoded(pixels(1000 * CLASSES.index(label) + number, 64, 64).point(lambda v: int(v * brightness)), "JPEG")


@pytest.fixture
def bucket(tmp_path):
    with bucket_server(tmp_path) as found:
        for label in CLASSES:
            for number in range(PER_CLASS):
                found.put(f"plates/{label}/{number}.jpg", picture(label, number))
        yield found


def with_source(tmp_path, bucket: Bucket, **ingest: object) -> Clone:
    clone = Clone(tmp_path)
    clone.environment |= {**bucket.environment, "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    clone.set_params("ingest", source=f"s3://{BUCKET}/plates", **ingest)
    return clone


def test_images_in_s3_give_what_their_copies_give_until_one_changes(tmp_path, bucket):
    clone = with_source(tmp_path, bucket, copy=False)
    clone.repro()
    in_place = clone.digests()
    table = read_manifest(clone.folder / "data/manifest.csv")
    assert table["address"].str.startswith(f"s3://{BUCKET}/plates/").all()
    assert [path.name for path in (clone.folder / "data/images").iterdir()] == ["in_place.txt"]
    assert "data:image/jpeg" in (clone.folder / "reports/report.html").read_text(encoding="utf-8")
    assert "Data and pipelines are up to date" in clone.repro()

    clone.set_params("ingest", copy=True)
    clone.repro()
    copied = clone.digests()
    differing = {path for path in in_place.keys() & copied.keys() if copied[path] != in_place[path]}
    tables = ("manifest", "duplicates", "splits", "baselines")  # those with addresses
    assert differing == {f"data/{name}.csv" for name in tables}
    assert in_place.keys() - copied.keys() == {"data/images/in_place.txt"}
    assert {path for path in copied.keys() - in_place.keys() if not path.endswith(".zip")} == {"data/images/index.csv"}
    assert len(packed_images(clone.folder / "data/images")) == len(CLASSES) * PER_CLASS

    clone.set_params("ingest", copy=False)
    clone.repro()
    assert clone.digests() == in_place
    # one byte behind the image: the same pixels, another file
    bucket.put("plates/hole/7.jpg", picture("hole", 7) + b"\0")
    output = clone.run("python", "-m", "stages.explore", code=1)
    assert f"explore: error: s3://{BUCKET}/plates/hole/7.jpg has changed since it was ingested" in output
    assert clone.digests() == in_place
    assert "python -m stages.ingest" in clone.repro()
    assert set(read_manifest(clone.folder / "data/manifest.csv")["id"]) ^ set(table["id"])


def test_what_s3_refuses_is_said_in_a_line_and_leaves_nothing(tmp_path, bucket):
    clone = with_source(tmp_path, bucket, copy=False)
    for prefix in ("nowhere", "plates/hole/7.jpg/x"):
        clone.set_params("ingest", source=f"s3://{BUCKET}/{prefix}")
        assert f"dependency 's3://{BUCKET}/{prefix}' does not exist" in clone.repro(code=255)
    clone.set_params("ingest", source=f"s3://{BUCKET}/plates")
    bucket.look_at_keys(0)
    try:
        output = clone.run("python", "-m", "stages.ingest", code=1)
        clone.run("dvc", "repro", code=None)
    finally:
        bucket.look_at_keys(10**9)
    assert f"ingest: error: s3://{BUCKET}/plates is refused" in output
    assert not (clone.folder / "data/manifest.csv").exists()
    assert not (clone.folder / "data/images").exists()
