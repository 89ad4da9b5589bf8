"""A client that attacks a server: bombs, damaged and endless bodies, requests broken off, and bodies that come slowly.

It has an address of its own on this machine, so that a server can tell it from others (on Linux only).
"""

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np

from stages.benchmarks.hostile_files import OVER_PX, gif, jpeg_of_many_scans, png, saved

ADDRESS = "127.0.0.2"

SIDE_PX = 5000
"""Of its large images: at the usual limit of a server."""

TIMEOUT = 5.0
"""Seconds after which it goes away without an answer."""

NUM_SLOW = 20
"""Requests of which it sends a byte a second; with more, `graft serve` takes no other request of it."""


REFUSED = frozenset((413, 429, 503))
"""Statuses of requests that are too large or too many."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server, and how it is asked about images."""

    port: int
    """On this machine."""
    path: str
    """Address of the requests."""
    body: Callable[[Sequence[bytes]], tuple[str, bytes]]
    """The content type and the body of a request about image files."""


def form_body(files: Sequence[bytes]) -> tuple[str, bytes]:
    """Ask `graft serve`: a single file is the body, several are a form."""
    if len(files) == 1:
        return "image/jpeg", files[0]
    head = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return "multipart/form-data; boundary=cut", b"".join(head + file + b"\r\n" for file in files) + b"--cut--\r\n"


def table_body(files: Sequence[bytes]) -> tuple[str, bytes]:
    """Ask MLflow's server: a table with a column of files as base64."""
    records = [{"image": base64.b64encode(file).decode()} for file in files]
    return "application/json", json.dumps({"dataframe_records": records}).encode()


def payloads() -> list[list[bytes]]:
    """Make the files of each kind of request."""
    photo = saved("RGB", 256, "JPEG")
    return [
        [png(SIDE_PX, 16, 6, 4)],
        [png(SIDE_PX, 8, 2, 3, interlaced=True)] * 64,
        [saved("RGB", SIDE_PX, "JPEG2000")] * 8,
        [jpeg_of_many_scans(1024)] * 8,
        [gif(OVER_PX)] * 64,
        [photo[: len(photo) // 2] + bytes(500)] * 64,
        [bytes(30_000_000)],
        [bytes(60_000_000)],
        [b"\xff" * 1000] * 2000,
        [b""],
    ]


class HostileClient:
    """Sends one request after the other, beside some slow ones, from several threads, until it is stopped."""

    def __init__(self, target: Target, seed: int) -> None:
        """Make its requests, which takes seconds; `seed` gives their order."""
        self._target, self._rng = target, np.random.default_rng(seed)
        self._bodies = [target.body(files) for files in payloads()]
        self.num_requests, self.num_refused = 0, 0
        """Requests that were sent, and those that the server did not take on."""

    def attack(self, seconds: float) -> None:
        """Attack for so long."""
        end = time.monotonic() + seconds
        slow = threading.Thread(target=self._send_slowly, args=(end,))
        slow.start()
        while time.monotonic() < end:
            kind, body = self._bodies[int(self._rng.integers(len(self._bodies)))]
            with suppress(OSError, http.client.HTTPException):  # it goes away, or the server does
                self._send(kind, body, str(self._rng.choice(["whole", "whole", "chunked", "cut"])))
            self.num_requests += 1
        slow.join()

    def _send(self, kind: str, body: bytes, how: str) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._target.port, TIMEOUT, (ADDRESS, 0))) as connection:
            if how == "chunked":
                connection.request("POST", self._target.path, _chunks(body), {"Content-Type": kind})
            else:
                connection.putrequest("POST", self._target.path)
                connection.putheader("Content-Type", kind)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body[: len(body) // 2] if how == "cut" else body)
            if how != "cut":
                response = connection.getresponse()
                self.num_refused += response.status in REFUSED
                response.read()

    def _send_slowly(self, end: float) -> None:
        """Keep NUM_SLOW requests open, each of which sends a byte a second."""
        connections: dict[int, socket.socket | None] = dict.fromkeys(range(NUM_SLOW))
        while time.monotonic() < end:
            for number, connection in connections.items():
                try:
                    if connection is None:
                        connection = connections[number] = self._begin_slowly()
                    connection.sendall(b"x")
                except OSError:
                    connections[number] = None
            time.sleep(1)
        for connection in connections.values():
            if connection is not None:
                connection.close()

    def _begin_slowly(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._target.port), TIMEOUT, (ADDRESS, 0))
        head = f"POST {self._target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode())
        return connection


def _chunks(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 2**16] for start in range(0, len(body), 2**16))
