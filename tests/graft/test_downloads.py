import hashlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from stages.graft.downloads import check_sha256, fetch, is_address
from stages.graft.errors import DataError, ParamsError
from tests.pictures import write

DATA = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Site(ThreadingHTTPServer):
    """Serves `data` at every path and notes the ranges it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.data = DATA
        self.ranges: list[str | None] = []
        self.takes_ranges = True
        self.breaks_off_after: int | None = None
        """Bytes sent in one answer before the connection ends."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/plates.zip"


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        data, start = self.server.data, 0
        if self.path == "/gone":
            return self.send_error(404)
        if wanted and self.server.takes_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = None if self.server.breaks_off_after is None else start + self.server.breaks_off_after
        self.wfile.write(data[start:end])

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def site(monkeypatch):
    """A web server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_once(site, tmp_path, capsys):
    path = fetch(site.address, SHA256.upper(), tmp_path)
    assert path.read_bytes() == DATA
    assert "download: 0.3/0.3 MB" in capsys.readouterr().err
    assert fetch(site.address, SHA256, tmp_path) == path
    assert site.ranges == [None]


def test_a_download_that_was_killed_goes_on(site, tmp_path):
    write(tmp_path / f"{SHA256}.part", DATA[:100_000])
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=100000-"]
    assert not (tmp_path / f"{SHA256}.part").exists()


def test_a_whole_file_that_was_not_yet_renamed_is_not_fetched_again(site, tmp_path):
    write(tmp_path / f"{SHA256}.part", DATA)
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA
    assert site.ranges == []


def test_a_connection_that_breaks_off_is_taken_up_again(site, tmp_path):
    site.breaks_off_after = 120_000
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA
    assert site.ranges == [None, "bytes=120000-", "bytes=240000-"]


def test_a_server_without_ranges_sends_all_again(site, tmp_path):
    site.takes_ranges = False
    write(tmp_path / f"{SHA256}.part", DATA[:100_000])
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("beginning", [b"x" * 100_000, b"x" * 400_000])
def test_the_beginning_of_another_file_is_thrown_away(site, tmp_path, beginning):
    write(tmp_path / f"{SHA256}.part", beginning)
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA


def test_a_connection_that_never_brings_a_byte_is_an_error_and_nothing_is_lost(site, tmp_path):
    write(tmp_path / f"{SHA256}.part", DATA[:100_000])
    site.breaks_off_after = 0
    with pytest.raises(DataError, match=r"broke off after 100000 of 300000 bytes\); 100000 bytes are kept, run again"):
        fetch(site.address, SHA256, tmp_path)
    assert len(site.ranges) == 5
    site.breaks_off_after = None
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA


def test_another_file_is_refused_and_not_kept(site, tmp_path):
    site.data = b"another"
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(DataError, match=f"has SHA-256 {found}, the parameter says {SHA256}"):
        fetch(site.address, SHA256, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_damaged_file_in_the_folder_is_fetched_again(site, tmp_path):
    write(tmp_path / SHA256, b"damaged")
    assert fetch(site.address, SHA256, tmp_path).read_bytes() == DATA


def test_several_at_once_fetch_once(site, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(site.address, SHA256, tmp_path), range(4)))
    assert [path.read_bytes() for path in paths] == [DATA] * 4
    assert site.ranges == [None]


def test_refusals_and_silence_name_the_address(site, tmp_path):
    with pytest.raises(DataError, match=r"/gone answers 404 Not Found; check ingest.source"):
        fetch(site.address.replace("plates.zip", "gone"), SHA256, tmp_path)
    with pytest.raises(DataError, match=r"http://127.0.0.1:1/x cannot be fetched .*refused"):
        fetch("http://127.0.0.1:1/x", SHA256, tmp_path)
    for wrong in ("http://127.0.0.1:port/x", "http:///x", "http://127.0.0.1/a b"):
        with pytest.raises(DataError, match=wrong):
            fetch(wrong, SHA256, tmp_path)


def test_check_sha256(tmp_path):
    path = write(tmp_path / "a.zip", DATA)
    check_sha256(path, SHA256.upper())
    with pytest.raises(ParamsError, match=f"a.zip has SHA-256 {SHA256}, the parameter says {'0' * 64}"):
        check_sha256(path, "0" * 64)


@pytest.mark.parametrize(
    ("source", "expected"), [("https://x/y", True), ("http://x", True), ("s3://x", False), ("x", False)]
)
def test_is_address(source, expected):
    assert is_address(source) is expected
