"""The attack on a server: all kinds of requests arrive, and the waits of the other clients are told apart."""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from stages.benchmarks import hostile_client
from stages.benchmarks.bench_load import measure_turn
from stages.benchmarks.hostile_client import ADDRESS, HostileClient, Target, form_body, table_body

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has several addresses of its own")


class Counting(BaseHTTPRequestHandler):
    """Counts requests by the client's address."""

    requests: ClassVar[dict[str, list[int]]] = {}

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.requests.setdefault(self.client_address[0], []).append(length)
        self.rfile.read(length)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def port():
    Counting.requests = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_turn_with_and_without_an_attack(port, monkeypatch):
    monkeypatch.setattr(hostile_client, "payloads", lambda: [[b"bomb"], [b"a", b"b"]])
    monkeypatch.setattr(hostile_client, "NUM_SLOW", 2)
    target = Target(port=port, path="/", body=form_body)
    attacker = HostileClient(target, seed=0)
    assert measure_turn(target, [b"1", b"22", b"333"], 0.3, None).num_failed == 0
    assert set(Counting.requests) == {"127.0.0.1"}
    waits = measure_turn(target, [b"1", b"22", b"333"], 0.3, attacker)
    assert (len(waits.seconds) >= 2, waits.num_failed) == (True, 0)
    assert attacker.num_requests > 3
    assert Counting.requests[ADDRESS].count(1_000_000) == 2
    assert set(Counting.requests["127.0.0.1"]) == {1, 2, 3}


def test_a_server_that_is_gone_counts_as_failed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits = measure_turn(Target(port=port, path="/", body=table_body), [b"1", b"2"], 0.1, None)
    assert (waits.seconds, waits.num_failed >= 2) == ([], True)


def test_bodies():
    assert form_body([b"x"]) == ("image/jpeg", b"x")
    assert form_body([b"x", b"y"])[1].count(b"--cut") == 3
    assert table_body([b"x"]) == ("application/json", b'{"dataframe_records": [{"image": "eA=="}]}')
