"""The command in a process of its own: it answers over HTTP, ends cleanly, and says what is wrong in one line."""

import json
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest

from stages.graft.serving.connections import MAX_CONNECTIONS
from tests.support.bundles import picture
from tests.support.commands import graft
from tests.support.pages import commands, section
from tests.support.served import running_server, write_served_project


@pytest.fixture
def project_folder(bundle_folder, tmp_path):
    return write_served_project(bundle_folder, tmp_path / "served")


@pytest.fixture
def image(tmp_path):
    picture(40, 1).save(tmp_path / "image.png")
    return (tmp_path / "image.png").read_bytes()


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_keeps_a_log_and_ends_cleanly(project_folder, image, ended_by):
    [command] = commands(section("docs/using-the-model.md", "How do I let people try it?"))
    options = command.removeprefix("graft serve ").split()
    with running_server(project_folder, *options, "--corrections", "corrected") as server:
        with urlopen(Request(server.address + "/answers?nearest=1", data=image), timeout=30) as got:
            [answer] = json.load(got)["answers"]
        with urlopen(Request(server.address + "/corrections?label=dark", data=image), timeout=30) as got:
            assert json.load(got) == {"label": "dark"}
        server.process.send_signal(ended_by)
        assert server.process.wait(20) == 0
    assert (answer["label"], answer["nearest"][0]["label"]) == ("dark", "dark")
    assert server.output().strip().splitlines()[-1] == "serve: stopped"
    [file] = (project_folder / "answers").iterdir()
    assert pq.read_table(file)["label"].to_pylist() == ["dark"]
    [saved] = (project_folder / "corrected").rglob("*.png")
    assert saved.read_bytes() == image


def test_a_client_that_goes_away_and_one_that_sends_nonsense_harm_no_other(project_folder, image):
    with running_server(project_folder) as server:
        port = int(server.address.rpartition(":")[2])
        head = f"POST /answers HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: {len(image)}\r\n\r\n".encode()
        for sent in (head + image, head + image[:10], b"\x16\x03\x01nonsense\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(sent)
        with urlopen(Request(server.address + "/answers", data=image), timeout=30) as got:
            assert json.load(got)["answers"][0]["label"] == "dark"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has several addresses of its own")
def test_a_client_that_opens_connections_without_end_leaves_room_for_others(project_folder, image):
    with running_server(project_folder) as server:
        port = int(server.address.rpartition(":")[2])
        with ExitStack() as stack:
            idle = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)))
                for _ in range(MAX_CONNECTIONS + 20)
            ]
            idle[-1].settimeout(10)
            assert idle[-1].recv(1) == b""  # closed
            idle[0].sendall(f"GET /health HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            assert idle[0].recv(100).startswith(b"HTTP/1.1 200")
            with urlopen(Request(server.address + "/answers", data=image), timeout=30) as got:
                assert json.load(got)["answers"][0]["label"] == "dark"
        files = Path(f"/proc/{server.process.pid}/fd")
        wait_until = time.monotonic() + 10
        while len(list(files.iterdir())) > MAX_CONNECTIONS and time.monotonic() < wait_until:
            time.sleep(0.05)
        assert len(list(files.iterdir())) < MAX_CONNECTIONS


def test_a_taken_port_and_a_missing_model_are_said_in_a_line(bundle_folder, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"cannot listen on 127.0.0.1, port {port} .*; choose another with --port"):
            graft("serve", "--model", bundle_folder, "--port", port)
    with pytest.raises(SystemExit, match=r"no bundle\.json there"):
        graft("serve", "--model", tmp_path)
