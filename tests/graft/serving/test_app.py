"""Requests to the application, without a socket: answers, refusals, limits and headers."""

import asyncio
import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

from stages.graft.model.predictor import ImageFile, load_predictor
from stages.graft.serving.app import NOTHING_HERE, make_app
from stages.graft.serving.limits import Limits
from stages.graft.serving.server import ServeOptions, open_service
from tests.support.bundles import CLASSES
from tests.support.pictures import encoded, pixels

OPTIONS = ServeOptions(host="127.0.0.1", port=0, corrections=None, log=None, max_mb=1, max_megapixels=1)


@pytest.fixture(scope="module")
def service(served_project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    options = replace(OPTIONS, corrections=folder / "corrections", log=folder / "log")
    with open_service(served_project / "data/bundle", "project", options) as service:
        yield service


@pytest.fixture
def client(service):
    return TestClient(make_app(service), base_url="http://localhost")


def decoded(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_one_image_as_the_body(client, served_project, png):
    got = client.post("/answers?maps=true&preview=true&nearest=2", content=png)
    assert got.status_code == 200
    [answer] = got.json()["answers"]
    assert (answer["label"], "dark" in answer["words"]) == ("dark", True)
    [row] = load_predictor(served_project).predict([ImageFile(name="", read=lambda: png)])
    assert answer["probabilities"] == pytest.approx({label: row[f"p_{label}"] for label in CLASSES}, abs=2e-3)
    assert decoded(answer["preview"]).size == decoded(answer["heat_map"]).size == (48, 48)
    assert answer["sees_all"] is False  # its network sees the middle
    assert [near["label"] for near in answer["nearest"]] == ["dark", "dark"]
    thumbnail = client.get("/" + answer["nearest"][0]["thumbnail"])
    assert (thumbnail.headers["content-type"], thumbnail.content[:2]) == ("image/jpeg", b"\xff\xd8")


def test_the_map_is_that_of_predict(client, served_project, png):
    [answer] = client.post("/answers?maps=true", content=png).json()["answers"]
    [explained] = load_predictor(served_project).explain([ImageFile(name="", read=lambda: png)])
    alpha = np.asarray(decoded(answer["heat_map"]).getchannel("A"), float)
    row, column = np.unravel_index(alpha.argmax(), alpha.shape)
    heat = (explained.heat - explained.heat.min()) / np.ptp(explained.heat)
    assert heat[row * len(heat) // 48, column * len(heat) // 48] > 0.8


def test_a_form_with_several_images_answers_each(client, png, other_png):
    files = [("image", ("a.png", png)), ("image", ("b.txt", b"hello")), ("image", ("ü.png", other_png))]
    got = client.post("/answers", files=files)
    assert got.status_code == 200
    found = [(one["file"], one["label"], one["error"]) for one in got.json()["answers"]]
    assert found[0] == ("a.png", "dark", None)
    assert found[1][:2] == ("b.txt", None)
    assert found[1][2].startswith("not an image but a text file")
    assert found[2] == ("ü.png", "ü, light", None)


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 400, "there is no image"),
        (b"hello", 422, "not an image but a text file"),
        (b"\x89PNG\r\n\x1a\n", 422, "damaged"),
        (bytes(1_000_001), 413, "more than 1 MB"),
    ],
)
def test_junk_is_refused_in_plain_words(client, content, status, reason):
    got = client.post("/answers", content=content)
    assert got.status_code == status
    assert reason in got.json()["error"]


def test_an_image_of_too_many_pixels_is_refused(client):
    buffer = io.BytesIO()
    Image.new("1", (2000, 2000)).save(buffer, "PNG")
    got = client.post("/answers", content=buffer.getvalue())
    assert (got.status_code, "limit" in got.json()["error"]) == (422, True)


def test_a_large_jpeg_2000_is_refused_since_its_decoder_stops_all_others(client):
    data = encoded(Image.new("RGB", (1001, 1000)), "JPEG2000")
    got = client.post("/answers", content=data)
    assert (got.status_code, "send it as JPEG or PNG" in got.json()["error"]) == (422, True)
    assert client.post("/corrections?label=dark", content=data).status_code == 422
    assert client.post("/answers", content=encoded(pixels(1, 50, 50), "JPEG2000")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(client, png, headers, status):
    assert client.post("/answers", content=png, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("max_requests", "other", "status", "reason"),
    [(1, "other", 503, "busy"), (2, "testclient", 429, "wait for the answers"), (2, "other", 200, None)],
    ids=["all room is taken", "half of it by one client", "the other half is for others"],
)
def test_too_much_at_once_is_refused_and_then_taken_again(service, png, max_requests, other, status, reason):
    app = make_app(replace(service, limits=Limits(max_requests=max_requests)))
    client, arrived, free = TestClient(app, base_url="http://localhost"), threading.Event(), threading.Event()

    async def waiting(receive):  # a body that comes late
        arrived.set()
        while not free.is_set():
            await asyncio.sleep(0.01)
        return await receive()

    read = app._read
    app._read = lambda receive: read(lambda: waiting(receive))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/answers", content=png)
        assert arrived.wait(10)
        app._read = read
        second = TestClient(app, base_url="http://localhost", client=(other, 1))
        got = second.post("/answers", content=png)
        assert second.get("/ready").status_code == (503 if max_requests == 1 else 200)
        free.set()
        assert first.result(30).status_code == 200
    assert got.status_code == status
    if reason is not None:
        assert (got.headers["retry-after"], reason in got.json()["error"]) == ("1", True)
    assert client.post("/answers", content=png).status_code == 200


def test_a_page_and_every_answer_forbid_other_sources(client):
    for path in ("/", "/docs", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy
    assert "http" not in client.get("/").text.replace("http://www.w3.org", "")


def test_the_interface_is_described_without_a_network(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/answers", "/corrections", "/health", "/metrics", "/model", "/ready", "/training/{name}"
    }  # fmt: skip
    assert {"image/*", "multipart/form-data"} == set(paths["/answers"]["post"]["requestBody"]["content"])
    assert client.get("/docs").status_code == 200


def test_wrong_addresses_and_values_have_a_reason(client, png):
    assert client.get("/etc/passwd").json() == {"error": NOTHING_HERE}
    assert "nearest" in client.post("/answers?nearest=-1", content=png).json()["error"]
    assert client.get("/answers").status_code == 405
    assert client.get("/training/..%2f..%2fx.jpg").status_code == 404


def test_corrections(client, service, png):
    assert client.post("/corrections?label=dark", content=png).json() == {"label": "dark"}
    assert client.post("/corrections?label=other", content=png).status_code == 409
    assert client.post("/corrections?label=../x&new=true", content=png).status_code == 422
    assert client.post("/corrections?label=dark", content=b"hello").status_code == 422
    assert client.get("/model").json()["can_correct"]
    closed = TestClient(make_app(replace(service, corrections=None)), base_url="http://localhost")
    assert closed.post("/corrections?label=dark", content=png).status_code == 403


def test_counters(client, png):
    def value(name):
        [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name + " ")]
        return float(line.rpartition(" ")[2])

    before = value('graft_images_total{outcome="damaged"}') if "damaged" in client.get("/metrics").text else 0
    client.post("/answers", files=[("image", ("a", png)), ("image", ("b", b"hello"))])
    assert value('graft_images_total{outcome="damaged"}') == before + 1
    assert value("graft_requests_in_work") == 0
    assert value('graft_answer_seconds_bucket{le="+Inf"}') == value("graft_answer_seconds_count") > 0


def test_the_log_has_what_was_answered(served_project, tmp_path, png):
    with open_service(served_project / "data/bundle", "x", replace(OPTIONS, log=tmp_path / "log")) as service:
        client = TestClient(make_app(service), base_url="http://localhost")
        [answer] = client.post("/answers", files=[("image", ("a.png", png))]).json()["answers"]
        client.post("/answers", content=b"hello")
    [file] = (tmp_path / "log").iterdir()
    [row] = pq.read_table(file).to_pylist()
    assert (row["file"], row["label"], row["confidence"]) == ("a.png", "dark", answer["confidence"])
    assert (row["model"], row["thumbnail"][:2]) == (service.answering.version, b"\xff\xd8")
    [found] = load_predictor(served_project, batch_size=1).answer_all([ImageFile(name="", read=lambda: png)])
    assert row["features"] == pytest.approx(found.x.tolist(), abs=1e-4)
