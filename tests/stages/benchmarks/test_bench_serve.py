"""The measurement of servers: requests of several clients, and percentiles."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from stages.benchmarks.bench_serve import ask_all, percentiles


class Echo(BaseHTTPRequestHandler):
    """Counts bodies; refuses one."""

    protocol_version = "HTTP/1.1"
    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(body)
        self.send_response(500 if body == b"bad" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def port():
    Echo.bodies = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_every_body_is_sent_once_and_timed(port):
    bodies = [bytes([number]) for number in range(10)]
    seconds = ask_all(port, "/", bodies, 3, "image/jpeg")
    assert sorted(Echo.bodies) == bodies
    assert len(seconds) == 10
    assert all(one > 0 for one in seconds)


def test_a_refused_request_ends_the_measurement(port):
    with pytest.raises(RuntimeError, match="500"):
        ask_all(port, "/", [b"good", b"bad"], 1, "image/jpeg")


def test_percentiles_in_milliseconds():
    assert percentiles([k / 1000 for k in range(1, 100)]) == pytest.approx((50, 95))
