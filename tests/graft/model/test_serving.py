"""The served model: asked in Python, and over HTTP by any client; what cannot be answered harms nothing."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from stages.graft.core.errors import DataError
from stages.graft.model.serving import ServedModel, _load_pyfunc, read_image
from stages.graft.storage.files import write_json, write_text
from stages.graft.tracking.mlflow_model import LOADER, PACKAGES, REQUIREMENTS, RUNTIMES, needed
from stages.graft.tracking.publish import publish
from tests.conftest import REPOSITORY
from tests.support.bundles import CLASSES, SHADES, picture
from tests.support.imports import package_of, reached
from tests.support.pages import commands, section


def png(shade: int, number: int) -> bytes:
    file = io.BytesIO()
    picture(shade, number).save(file, "PNG")
    return file.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bomb() -> bytes:
    """The header of a picture of 200 megapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 10_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"IDAT" * 9


JUNK = {
    "": "zero bytes",
    "no base64 at all!": "not base64",
    "abc": "not base64",
    text(b"no image"): "not an image",
    text(bomb()): "over the limit of 179 megapixels",
    text(png(40, 1)[:60]): "damaged or truncated",
    "ü": "not base64",
    "data:image/png;base64,@": "not base64",
    "data:nothing": "expected base64 text, a data: or a file: address",
    "https://example.org/a.png": "expected base64 text, a data: or a file: address",
    "file:///etc/hostname": "files of this machine are not read; send base64, or load the model with model_config",
}
"""Text that is no image, and what is said of it."""


@pytest.fixture(scope="module")
def model(bundle_folder) -> ServedModel:
    return _load_pyfunc(str(bundle_folder))


def test_a_table_of_images_gives_a_table_of_answers(model):
    images = [text(png(shade, 100)) for shade in SHADES]
    answers = model.predict(pd.DataFrame({"image": images, "beside": 0}, index=[7, 3, 9]))
    assert list(answers.columns) == model.columns
    assert list(answers.index) == [7, 3, 9]
    assert answers["label"].to_list() == list(CLASSES)
    assert answers["error"].to_list() == [None] * 3
    shares = answers[[f"p_{label}" for label in CLASSES]]
    assert shares.sum(axis=1).to_list() == pytest.approx([1, 1, 1], abs=1e-5)
    assert shares.max(axis=1).to_list() == answers["confidence"].to_list()


def test_an_image_may_come_in_several_ways(model, tmp_path):
    data = png(SHADES[1], 3)
    (tmp_path / "größe 1%.png").write_bytes(data)
    address = (tmp_path / "größe 1%.png").as_uri()
    broken = base64.encodebytes(data).decode()  # lines of 76 characters
    ways = [data, bytearray(data), text(data), broken, f"data:image/png;base64,{text(data)}"]
    assert {read_image(way, read_paths=False) for way in ways} == {data}
    assert read_image(address, read_paths=True) == data
    answers = model.predict(pd.DataFrame({"image": ways}))
    assert answers["label"].to_list() == [CLASSES[1]] * len(ways)


def test_files_are_read_where_that_is_allowed_alone(bundle_folder, tmp_path):
    (tmp_path / "a.png").write_bytes(png(SHADES[2], 3))
    images = pd.DataFrame({"image": [(tmp_path / "a.png").as_uri(), "file:///no/such", "file://host/a.png"]})
    allowed = _load_pyfunc(str(bundle_folder), {"read_paths": True}).predict(images)
    assert allowed["label"].to_list() == [CLASSES[2], None, None]
    assert allowed["error"].to_list()[1:] == [
        "cannot be read: No such file or directory",
        "a file: address begins with three slashes",
    ]
    refused = _load_pyfunc(str(bundle_folder), {"read_paths": False}).predict(images)
    assert set(refused["label"]) == {None}


@pytest.mark.parametrize("value", [None, 3, 2.5, float("nan"), True, ["x"], {"b64": "x"}])
def test_what_is_no_text_is_named(value):
    with pytest.raises(DataError, match="expected an image file as base64 text, got "):
        read_image(value, read_paths=True)


def test_junk_is_a_row_with_its_reason_beside_the_answers(model):
    answers = model.predict(pd.DataFrame({"image": [*JUNK, text(png(SHADES[0], 1))]}))
    for error, reason in zip(answers["error"], JUNK.values(), strict=False):
        assert reason in error
    assert answers["label"].to_list() == [None] * len(JUNK) + [CLASSES[0]]


def test_nothing_is_decoded_after_the_server_has_given_up_the_request(model, monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    answers = model.predict(pd.DataFrame({"image": [text(png(SHADES[0], 1))] * 3}))
    assert set(answers["error"]) == {
        "too late: the server has given up the request (MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT)"
    }
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60")
    assert model.predict(pd.DataFrame({"image": [text(png(SHADES[0], 1))]}))["label"].to_list() == [CLASSES[0]]


def test_an_empty_table_gives_an_empty_table(model):
    assert model.predict(pd.DataFrame({"image": []})).shape == (0, len(model.columns))


def test_the_requirements_are_what_the_code_imports():
    """Everything imported at once is required; nothing of the tracking or the training is in the model."""
    paths = reached(REPOSITORY / f"{LOADER.replace('.', '/')}.py", REPOSITORY)
    eager = {
        line.split()[1].split(".")[0]
        for path in paths
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"(from|import) \w", line)
    }
    packages = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml"}
    needed_at_once = {packages.get(name, name) for name in eager - set(sys.stdlib_module_names) - {"stages"}}
    runtimes = {name for names in RUNTIMES.values() for name in names}
    assert needed_at_once <= {*REQUIREMENTS, *runtimes}
    assert needed_at_once - runtimes == {*REQUIREMENTS} - {"mlflow-skinny"}
    assert {package_of(path, REPOSITORY) for path in paths} <= {*PACKAGES}


def test_the_requirements_follow_the_runtime():
    record = {"runtime": {"runtime": "openvino 2026.4"}, "backbone": {"name": "timm:resnet50"}}
    assert needed(record) == sorted([*REQUIREMENTS, "openvino"])
    record["runtime"]["runtime"] = "torch 2.15"
    assert needed(record) == sorted([*REQUIREMENTS, "torch", "torchvision", "timm"])


class Server:
    """`mlflow models serve`, as docs/using-the-model.md has it."""

    def __init__(self, command: list[str], folder: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [*command[: command.index("--port") + 1], str(self.port)]
        variables = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=file, stderr=file, start_new_session=True
            )

    def wait(self) -> None:
        for _ in range(480):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.25)
        raise AssertionError(self.log.read_text())

    def ask(self, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """Post a body; give the status and the answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/invocations", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read(), parse_constant=lambda name: 1 / 0)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def rows(self, images: list[Any]) -> list[dict[str, Any]]:
        """Ask about images; every one has its row."""
        body = json.dumps({"dataframe_records": [{"image": image} for image in images]}).encode()
        status, answer = self.ask(body)
        assert status == 200, answer
        assert len(answer["predictions"]) == len(images)
        return answer["predictions"]


def serve_command() -> list[str]:
    [command] = commands(section("docs/using-the-model.md", "How do I serve it?"))
    return command.split()


@pytest.fixture(scope="module")
def server(bundle_folder, tmp_path_factory) -> Iterator[Server]:
    """The champion of a repository, served from its root."""
    root = tmp_path_factory.mktemp("served") / "größe 100% so"
    shutil.copytree(bundle_folder, root / "data/bundle")
    write_text(yaml.safe_dump({"tracking": {"experiment": "x", "model_name": "plates"}}), root / "params.yaml")
    write_text("id,file,label\n", root / "data/manifest.csv")
    write_json({"passed": True, "reasons": []}, root / "reports/gate.json")
    write_text("id,label,predicted\na,x,x\n", root / "reports/predictions.csv")
    for name in ("requirements.lock", "dvc.yaml"):
        shutil.copyfile(REPOSITORY / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        patch.setenv("GRAFT_STORE", str(root.parent / "nothing"))  # what is served needs none
        patch.delenv("PYTHONPATH", raising=False)
        publish(root)
        server = Server(serve_command(), root, root.parent / "log")
    try:
        server.wait()
        yield server
        assert server.process.poll() is None
        assert not (root.parent / "nothing").exists()
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


@pytest.fixture
def living(server) -> Iterator[Server]:
    """A server that still answers when the test is over."""
    yield server
    assert [row["label"] for row in server.rows([text(png(SHADES[0], 1))])] == [CLASSES[0]]


def test_the_champion_answers_over_http(living, model):
    images = [text(png(shade, 50)) for shade in SHADES]
    rows = living.rows(images)
    assert rows == json.loads(model.predict(pd.DataFrame({"image": images})).to_json(orient="records"))
    assert [row["label"] for row in rows] == list(CLASSES)


def test_junk_over_http_is_a_row_with_its_reason(living):
    rows = living.rows([*JUNK, None, 7, ["x"], {"a": 1}, text(png(SHADES[1], 2))])
    for row, reason in zip(rows, [*JUNK.values(), *["expected an image file as base64 text"] * 4], strict=False):
        assert row["label"] is None
        assert reason in row["error"]
    assert rows[-1]["label"] == CLASSES[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"dataframe_records": "x"}',
        b'{"dataframe_records": [{"picture": "x"}]}',
        b'{"dataframe_records": []}',
        b'{"dataframe_split": {"columns": ["image"], "data": [["a", "b"]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [["x"]]}}',
        b'{"inputs": {"picture": ["x"]}}',
        b'{"instances": 5}',
        b'{"dataframe_records": [{"image": 1}, {"image": 2.5}]}',
    ],
)
def test_a_wrong_request_is_refused_or_answered_row_by_row(living, body):
    status, answer = living.ask(body)
    if status == 200:
        assert all(row["error"] for row in answer["predictions"])
    else:
        assert 400 <= status < 500, answer


@pytest.mark.parametrize(("body", "kind"), [(b"[" * 100_000, "application/json"), (b"{}", "")])
def test_what_mlflow_itself_trips_over_does_not_end_the_server(living, body, kind):
    """JSON nested beyond Python's depth, or no content type, never reach the model: MLflow says 500 or refuses."""
    assert living.ask(body, kind)[0] >= 400


def test_a_wrong_column_is_named(living):
    status, answer = living.ask(b'{"dataframe_records": [{"picture": "x"}]}')
    assert status == 400
    assert "image" in answer
    assert "picture" in answer


def test_another_kind_of_body_is_refused(living):
    assert living.ask(b"x", "image/png")[0] == 415
    status, answer = living.ask(f"image\n{text(png(SHADES[2], 1))}\n".encode(), "text/csv")
    assert (status, answer["predictions"][0]["label"]) == (200, CLASSES[2])


def test_five_hundred_images_at_once(living):
    shown = [k % 3 for k in range(500)]
    rows = living.rows([text(png(SHADES[k], number)) for number, k in enumerate(shown)])
    assert [row["label"] for row in rows] == [CLASSES[k] for k in shown]


def test_several_clients_at_once_get_their_own_answers(living):
    def ask(k: int) -> list[str]:
        return [row["label"] for row in living.rows([text(png(SHADES[k % 3], n)) for n in range(5)])]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [[CLASSES[k % 3]] * 5 for k in range(8)]
