"""Servers on this machine: one that serves a file, well or with a flaw; MLflow's; one that speaks S3; one for ssh."""

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.support.pages import blocks, section

BUCKET = "graft"
"""The one bucket of the S3 server."""

S3_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
"""Environment of a client of the S3 server, which accepts any keys."""


class Site(ThreadingHTTPServer):
    """Serves `data` at every path except /gone, and records the requested ranges."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.data = data
        self.ranges: list[str | None] = []
        """One for each request; None for a request of the complete file."""
        self.takes_ranges = True
        self.breaks_off_after: int | None = None
        """Bytes sent in one answer before the connection ends."""
        self.pause_seconds = 0.0
        """Pause between two pieces of 1,000 bytes."""
        self.flaw = ""
        """404; chunked (cut in a chunk); other (bytes); silent (closes at once); garbage (no HTTP); deaf (never
        answers); stalled (nothing more after the first 1,000 bytes)."""
        self.released = threading.Event()
        """Ends the wait of a server that is deaf or stalled."""

    @property
    def num_asked(self) -> int:
        """Number of requests."""
        return len(self.ranges)

    def address(self, name: str) -> str:
        """Address of the file under a name."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Page(BaseHTTPRequestHandler):
    """One request."""

    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site, wanted = self.server, self.headers["Range"]
        site.ranges.append(wanted)
        self.close_connection = True
        match site.flaw:
            case "deaf":
                site.released.wait(30)
            case "garbage":
                self.wfile.write(b"220 ftp ready\r\n\r\n")
            case "chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b" % (len(site.data), site.data[:1000]))
            case "404":
                self.send_error(404)
            case "silent":
                pass
            case _:
                self.send_file(wanted)

    def send_file(self, wanted: str | None) -> None:
        """Answer as a file server, with the flaw."""
        site = self.server
        data, start = site.data[::-1] if site.flaw == "other" else site.data, 0
        if self.path == "/gone":
            return self.send_error(404)
        if wanted and site.takes_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if site.breaks_off_after is None else start + site.breaks_off_after
        return self.send_pieces(data[start:end])

    def send_pieces(self, data: bytes) -> None:
        """Send all bytes, or slowly, or not to the end."""
        site = self.server
        if site.flaw == "stalled":
            self.wfile.write(data[:1000])
            site.released.wait(30)
            return
        size = 1000 if site.pause_seconds else len(data) or 1
        for first in range(0, len(data), size):
            self.wfile.write(data[first : first + size])
            site.released.wait(site.pause_seconds)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serving(data: bytes) -> Iterator[Site]:
    """Run a site in a thread of its own."""
    site = Site(data)
    site.handle_error = lambda *args: None  # a client that hangs up is the point of some tests
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        site.shutdown()
        thread.join()
        site.server_close()


class Process:
    """A server in a process of its own, at a port that stays its own over a restart."""

    def __init__(self, command: list[str], health: str, folder: Path) -> None:
        """Take a free port; `{port}` in the command stands for it, and `health` is the path that is asked for."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._command = [word.format(port=port) for word in command]
        self._health, self._folder = health, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "server.log").open("ab") as log:
            environment = os.environ | {
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            }
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(480):
            try:
                return urlopen(self.address + self._health, timeout=5).close()
            except (URLError, ConnectionError, TimeoutError):
                assert self._process.poll() is None, (self._folder / "server.log").read_text()
                time.sleep(0.25)
        raise AssertionError(f"{self._command} gives no answer within two minutes")

    def kill(self) -> None:
        """End it and its workers without a warning, as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def running(server: Process) -> Iterator[Process]:
    """Run a server, which may be killed and started again meanwhile."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


def mlflow_server(folder: Path) -> Process:
    """Give the MLflow server of docs/teams.md, its files in a folder; not started yet."""
    [[command], *_] = blocks(section("docs/teams.md", "Share one MLflow server"))
    places = {"mlflow.example.com": "127.0.0.1", "0.0.0.0": "127.0.0.1", "5000": "{port}", "/srv/mlflow": str(folder)}
    for place, real in places.items():
        command = command.replace(place, real)
    return Process([sys.executable, "-m", *shlex.split(command), "--workers", "1"], "/health", folder)


@contextmanager
def s3_server(folder: Path) -> Iterator[Process]:
    """Run a server that speaks S3 and has one empty bucket, in memory."""
    with running(
        Process([sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "{port}"], "/moto-api/", folder)
    ) as server:
        urlopen(Request(f"{server.address}/{BUCKET}", method="PUT"), timeout=20).close()
        yield server


@contextmanager
def ssh_server(key: Path) -> Iterator[int]:
    """Run a server that takes one key and gives files by SFTP; writes the private key and gives the server's port."""
    import asyncssh  # what DVC speaks ssh with

    own, users = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    users.write_private_key(key)
    users.write_public_key(key.with_suffix(".pub"))
    loop, port, done = asyncio.new_event_loop(), list[int](), asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        keys = {"server_host_keys": [own], "authorized_client_keys": str(key.with_suffix(".pub"))}
        async with await asyncssh.listen("127.0.0.1", 0, sftp_factory=True, **keys) as server:
            port.append(server.get_port())
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield port[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
