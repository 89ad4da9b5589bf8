import errno
import os
import tempfile
from pathlib import Path

import pytest

from stages.graft.core.stage import run
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.files import write_text
from stages.graft.storage.locks import exclusive_lock, shared_lock
from tests.support.commands import graft


def ended(main) -> str:
    with pytest.raises(SystemExit) as caught:
        run("extract", main)
    assert "\n" not in str(caught.value.code)
    return str(caught.value.code)


@pytest.fixture(params=["a file", "under a file", "in /proc"])
def no_store(request, tmp_path, monkeypatch):
    """A store that cannot be made."""
    write_text("", tmp_path / "a_file")
    places = {
        "a file": tmp_path / "a_file",
        "under a file": tmp_path / "a_file/store",
        "in /proc": Path("/proc/none/store"),
    }
    store = places[request.param]
    if request.param == "in /proc" and not Path("/proc").is_dir():
        pytest.skip("no /proc on this system")
    monkeypatch.setenv("GRAFT_STORE", str(store))
    return store


@pytest.mark.parametrize(
    "use",
    [
        lambda store: FeatureStore(store, {}),
        lambda store: write_text("x", store / "networks/x"),
        lambda store: exclusive_lock(store / "networks/x").__enter__(),
        lambda store: shared_lock(store / "networks/x", use_all),
        lambda store: (store / "scratch").mkdir(parents=True),
    ],
    ids=["features", "a file", "a lock", "a shared lock", "a folder"],
)
def test_a_store_that_cannot_be_made_names_its_setting(use, no_store):
    line = ended(lambda: use(store_folder()))
    assert line.startswith(f"extract: error: the store {no_store} cannot be made or written (")
    assert line.endswith("; set GRAFT_STORE to a folder that can be")


def use_all() -> None:
    """Holds a lock in a test."""


@pytest.mark.parametrize("command", [("store",), ("store", "prune", "--unused", "--yes")])
def test_commands_name_it_too(command, no_store):
    with pytest.raises(SystemExit) as caught:
        graft(*command)
    assert f"error: the store {no_store} cannot be made or written (" in str(caught.value.code)


def test_the_usual_store_of_someone_without_a_home(monkeypatch):
    monkeypatch.delenv("GRAFT_STORE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/nowhere/at/all")
    line = ended(lambda: refuse(Path("/nowhere"), errno.ENOENT))
    assert line.startswith(f"extract: error: the store {store_folder()} cannot be made or written (/nowhere: No such")


def refuse(path: Path, number: int) -> None:
    raise OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        (
            "images/a.csv",
            errno.EACCES,
            "`ingest.source` in params.yaml names images, which cannot be read ({}: Permission",
        ),
        (
            "images",
            errno.EIO,
            "`ingest.source` in params.yaml names images, which cannot be read ({}: Input/output error)",
        ),
        (
            "w/net.pth",
            errno.EACCES,
            "`backbone.weights` in params.yaml names w/net.pth, which cannot be read ({}: Perm",
        ),
        ("out/x.csv", errno.EROFS, "a file or folder cannot be made, written or read ({}: Read-only file system)"),
    ],
)
def test_other_places(path, number, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/somewhere/else")
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    write_text("ingest: {source: images, rows: 3}\nbackbone: {weights: w/net.pth, sha256: null}", Path("params.yaml"))
    line = ended(lambda: refuse(tmp_path / path, number))
    assert line.startswith("extract: error: " + expected.replace("{}", str(tmp_path / path)))


def test_a_temporary_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    assert "set TMPDIR to a folder" in ended(lambda: refuse(tmp_path / "tmp/x", errno.EACCES))


@pytest.mark.parametrize("error", [OSError("no number"), OSError(errno.EACCES, "no file"), ValueError("a bug")])
def test_other_errors_keep_their_traceback(error):
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run("extract", fail)
