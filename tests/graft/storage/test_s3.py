"""Objects in S3, from a server on this machine that speaks its language."""

import io
import socket

import pytest

from stages.graft.core.threads import in_threads
from stages.graft.images.location import NUM_READERS, ChangedError, ImageInPlace, read_image_bytes
from stages.graft.model.image_inputs import FolderCount, count_images, named_images
from stages.graft.storage import s3
from stages.graft.storage.s3 import UnreachableError, is_remote, list_objects, read_object
from tests.support.servers import BUCKET

pytest.importorskip("s3fs", reason="the extra s3 is not installed")


@pytest.mark.parametrize(("address", "expected"), [("s3://b/a", True), ("s3:/b", False), ("/s3://b", False)])
def test_is_remote(address, expected):
    assert is_remote(address) is expected


def test_objects_are_listed_page_by_page_and_read_whole(bucket, monkeypatch):
    for number in range(5):
        bucket.put(f"list/{number} ü.png", b"x" * number)
    bucket.put("list/empty/")
    bucket.put("listless/0.png")
    call = s3._connected().call_s3
    monkeypatch.setattr(s3._connected(), "call_s3", lambda *a, **k: call(*a, MaxKeys=2, **k))
    for root in (f"s3://{BUCKET}/list", f"s3://{BUCKET}/list/"):
        found = {one.address: one.size for one in list_objects(root)}
        assert found == {f"s3://{BUCKET}/list/{n} ü.png": n for n in range(5)} | {f"s3://{BUCKET}/list/empty/": 0}
    assert read_object(f"s3://{BUCKET}/list/3 ü.png") == b"xxx"
    assert len(list(list_objects(f"s3://{BUCKET}"))) == 7


def test_many_are_read_in_order_and_a_changed_one_is_named(bucket):
    import hashlib

    data = [b"image %d" % number for number in range(40)]
    places = []
    for number, one in enumerate(data):
        bucket.put(f"many/{number}", one)
        places.append(ImageInPlace(f"s3://{BUCKET}/many/{number}", hashlib.sha256(one).hexdigest()))
    assert list(in_threads(read_image_bytes, places, NUM_READERS)) == data
    bucket.put("many/7", b"other")
    with pytest.raises(ChangedError, match=r"^s3://graft/many/7 has changed since it was ingested; run"):
        list(in_threads(read_image_bytes, places, NUM_READERS))


def refuse(monkeypatch, bucket):
    bucket.look_at_keys(0)


def forget(monkeypatch, bucket):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def no_server(monkeypatch, bucket):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")


def nothing(monkeypatch, bucket):
    """All is well."""


@pytest.mark.parametrize(
    ("spoil", "root", "message"),
    [
        (nothing, "s3://graft/nowhere", r"^s3://graft/nowhere holds nothing; check the bucket and the prefix"),
        (nothing, "s3://no-such-bucket/a", r"^s3://no-such-bucket/a is not there; check the bucket"),
        (refuse, "s3://graft/list", r"^s3://graft/list is refused \(.+\); are these the right credentials"),
        (forget, "s3://graft/list", r"^s3://graft/list cannot be read: no credentials found; set AWS_ACCESS_KEY_ID"),
        (no_server, "s3://graft/list", r"^s3://graft/list cannot be read \(.+\); check the connection"),
    ],
)
def test_an_error_is_one_line(bucket, monkeypatch, spoil, root, message):
    spoil(monkeypatch, bucket)
    s3._connected.cache_clear()
    try:
        with pytest.raises(UnreachableError, match=message) as caught:
            list(list_objects(root))
        assert "\n" not in str(caught.value)
    finally:
        bucket.look_at_keys(10**9)


def test_images_to_classify_may_lie_in_s3(bucket):
    for name in ("b.png", "a/2.JPG", "notes.txt", ".hidden.png"):
        bucket.put(f"new/{name}", name.encode())
    root = f"s3://{BUCKET}/new"
    count = FolderCount(num_images=2, num_others=1, num_hidden=1)
    for place in (root, f"{root}/"):
        assert count_images([place, f"{root}/b.png"]) == (3, {place: count})
        files = list(named_images([place], io.BytesIO()))
        assert [file.name for file in files] == [f"{root}/a/2.JPG", f"{root}/b.png"]
        assert files[0].read() == b"a/2.JPG"
    named = named_images(["-"], io.BytesIO(f"{root}/b.png\n".encode()))
    assert [file.read() for file in named] == [b"b.png"]


def test_a_missing_object_is_named(bucket):
    with pytest.raises(UnreachableError, match=r"^s3://graft/nowhere/a\.png is not there"):
        read_object("s3://graft/nowhere/a.png")
