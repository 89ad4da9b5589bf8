"""Downloads from a real server: whole, resumed, slow, stalled, refused; never another file under the right name."""

import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.storage import downloads
from stages.graft.storage.downloads import DownloadError, fetch, fetch_to, is_address
from tests.conftest import REPOSITORY
from tests.support.pictures import write
from tests.support.servers import serving

DATA = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def site(monkeypatch):
    """A web server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    with serving(DATA) as server:
        yield server


def test_a_file_is_fetched_once(site, tmp_path):
    path = fetch(site.address("plates.zip"), SHA256.upper(), tmp_path)
    assert path.read_bytes() == DATA
    assert fetch(site.address("plates.zip"), SHA256, tmp_path) == path
    assert site.ranges == [None]


def test_a_download_that_was_killed_goes_on(site, tmp_path):
    write(tmp_path / f"{SHA256}.part", DATA[:100_000])
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=100000-"]
    assert not (tmp_path / f"{SHA256}.part").exists()


def test_a_whole_file_that_was_not_yet_renamed_is_not_fetched_again(site, tmp_path):
    write(tmp_path / f"{SHA256}.part", DATA)
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA
    assert site.ranges == []


def test_a_connection_that_breaks_off_is_taken_up_again(site, tmp_path):
    site.breaks_off_after = 120_000
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA
    assert site.ranges == [None, "bytes=120000-", "bytes=240000-"]


def test_a_server_without_ranges_sends_all_again(site, tmp_path):
    site.takes_ranges = False
    write(tmp_path / f"{SHA256}.part", DATA[:100_000])
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("beginning", [b"x" * 100_000, b"x" * 400_000])
def test_the_beginning_of_another_file_is_removed(site, tmp_path, beginning):
    write(tmp_path / f"{SHA256}.part", beginning)
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA


def test_a_connection_that_never_brings_a_byte_is_an_error_and_nothing_is_lost(site, tmp_path):
    write(tmp_path / f"{SHA256}.part", DATA[:100_000])
    site.breaks_off_after = 0
    with pytest.raises(DataError, match=r"broke off after 100000 of 300000 bytes\); 100000 bytes are kept, run again"):
        fetch(site.address("plates.zip"), SHA256, tmp_path)
    assert len(site.ranges) == 5
    site.breaks_off_after = None
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA


def test_another_file_is_refused_and_not_kept(site, tmp_path):
    site.data = b"another"
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(DataError, match=f"has SHA-256 {found}, the parameter says {SHA256}"):
        fetch(site.address("plates.zip"), SHA256, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_folder_is_fetched_again(site, tmp_path):
    write(tmp_path / SHA256, b"damaged")
    assert fetch(site.address("plates.zip"), SHA256, tmp_path).read_bytes() == DATA


def test_several_at_once_fetch_once(site, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(site.address("plates.zip"), SHA256, tmp_path), range(4)))
    assert [path.read_bytes() for path in paths] == [DATA] * 4
    assert site.ranges == [None]


AT_ONCE = """
import sys
from pathlib import Path
from stages.graft.storage.downloads import fetch
fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
"""


def test_of_two_processes_one_downloads_and_the_other_waits(site, tmp_path):
    site.pause_seconds = 0.005  # 1.5 seconds in all: the second starts before the first has ended
    command = [sys.executable, "-c", AT_ONCE, site.address("plates.zip"), SHA256, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert site.ranges == [None]
    assert sum("another process is at" in error for error in errors) == 1
    assert (tmp_path / SHA256).read_bytes() == DATA


def misfit(found):
    return None if found == SHA256 else "another"


def refused(site, path, answer_seconds=4.0):
    with pytest.raises(DownloadError) as caught:
        fetch_to(path, site.address("plates.zip"), misfit, answer_seconds, attempts=1)
    return str(caught.value)


@pytest.fixture
def impatient(monkeypatch):
    """A stall is noticed after a fifth of a second, so that tests need not wait for it."""
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(downloads, "MIN_BYTES_PER_SECOND", 20_000)


def test_a_connection_below_the_minimum_speed_ends_and_its_bytes_are_kept(site, tmp_path, impatient):
    site.pause_seconds = 0.1  # 10,000 bytes a second
    start = time.monotonic()
    message = refused(site, tmp_path / "a")
    assert time.monotonic() - start < 2
    kept = (tmp_path / "a.part").read_bytes()
    assert 0 < len(kept) < 20_000
    assert DATA.startswith(kept)
    assert "(stalled: " in message
    assert f"{len(kept)} bytes are kept, run again to go on" in message
    site.pause_seconds = 0.0
    assert fetch_to(tmp_path / "a", site.address("plates.zip"), misfit) == SHA256
    assert site.ranges == [None, f"bytes={len(kept)}-"]


def test_a_slow_server_above_the_minimum_speed_is_waited_for(site, tmp_path, impatient):
    site.data = DATA[:60_000]
    site.pause_seconds = 0.02  # at most 50,000 bytes a second, over a second: several times STALL_SECONDS
    start = time.monotonic()
    fetch_to(tmp_path / "a", site.address("plates.zip"), lambda found: None, 4.0, 1)
    assert time.monotonic() - start > 1
    assert (tmp_path / "a").read_bytes() == DATA[:60_000]
    assert site.ranges == [None]


def test_a_stall_keeps_every_byte_that_came(site, tmp_path, impatient):
    site.flaw = "stalled"
    assert "(timed out); 1000 bytes are kept" in refused(site, tmp_path / "a", answer_seconds=1.0)
    assert (tmp_path / "a.part").read_bytes() == DATA[:1000]


def test_a_name_that_is_never_resolved_ends_in_time(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.urllib.request, "urlopen", lambda *args, **options: site.released.wait(5))
    start = time.monotonic()
    with pytest.raises(DownloadError, match="no answer within"):
        fetch_to(tmp_path / "a", "http://plates.example/a", lambda found: None, 0.3, 1)
    assert time.monotonic() - start < 2


def test_a_folder_that_cannot_be_written_is_an_error_in_one_line(site, tmp_path):
    write(tmp_path / "file", b"")
    assert "cannot be written (" in refused(site, tmp_path / "file" / "a")


def test_refusals_and_silence_name_the_address(site, tmp_path):
    with pytest.raises(DataError, match=r"/gone answers 404 Not Found; check ingest.source"):
        fetch(site.address("gone"), SHA256, tmp_path)
    with pytest.raises(DataError, match=r"http://127.0.0.1:1/x cannot be fetched .*refused"):
        fetch("http://127.0.0.1:1/x", SHA256, tmp_path)
    for wrong in ("http://127.0.0.1:port/x", "http:///x", "http://127.0.0.1/a b"):
        with pytest.raises(DataError, match=wrong):
            fetch(wrong, SHA256, tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"), [("https://x/y", True), ("http://x", True), ("s3://x", False), ("x", False)]
)
def test_is_address(source, expected):
    assert is_address(source) is expected
