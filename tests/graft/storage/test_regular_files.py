import os
import re
import socket
import time

import pytest

from stages.graft.core.errors import DataError
from stages.graft.storage import regular_files
from stages.graft.storage.regular_files import check_regular, read_beginning, read_regular
from tests.support.pictures import write

READERS = (read_regular, lambda path: read_beginning(path, 10), check_regular)


def special(folder, kind):
    """A path at which something is that is no file, perhaps behind a link."""
    path = folder / "odd.png"
    if kind.endswith("device"):
        path.symlink_to("/dev/zero")
    elif kind.endswith("pipe"):
        os.mkfifo(folder / "pipe")
        path.symlink_to(folder / "pipe")
    elif kind.endswith("socket"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["a device", "a pipe", "a socket", "a folder"])
@pytest.mark.parametrize("read", READERS, ids=["whole", "beginning", "check"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind, read):
    start = time.monotonic()
    with pytest.raises(DataError, match=f"not a file but {kind}"):
        read(special(tmp_path, kind))
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("read", READERS, ids=["whole", "beginning", "check"])
def test_what_cannot_be_read_says_why(tmp_path, read):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        read(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "c")
    with pytest.raises(DataError, match="embedded null"):
        read("a\0b")


def test_a_file_is_read_through_links_up_to_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(regular_files, "MAX_FILE_BYTES", 5)
    (tmp_path / "link").symlink_to(write(tmp_path / "file", b"12345"))
    assert read_regular(tmp_path / "link") == b"12345"
    assert read_beginning(tmp_path / "link", 3) == b"123"
    with pytest.raises(DataError, match="over the limit"):
        read_regular(write(tmp_path / "large", b"123456"))
    assert read_regular(tmp_path / "large", 6) == b"123456"


def test_a_file_that_grows_is_not_taken_for_whole(tmp_path, monkeypatch):
    path, state = write(tmp_path / "file", b"123456789"), os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*state(fd)[:6], 5, *state(fd)[7:])))
    with pytest.raises(DataError, match=re.escape("grows while it is read")):
        read_regular(path)
