from pathlib import Path

import pytest

from stages.graft.errors import ParamsError
from stages.graft.places import store_folder


def test_the_environment_decides(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "here"))
    assert store_folder() == tmp_path / "here"


def test_a_relative_place_counts_from_the_repository(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_STORE", "cache")
    monkeypatch.chdir(tmp_path)
    assert store_folder() == tmp_path / "cache"
    monkeypatch.setenv("DVC_ROOT", "/repository")  # as in an experiment in a temporary folder
    assert store_folder() == Path("/repository/cache")


def test_an_address_is_refused(monkeypatch):
    monkeypatch.setenv("GRAFT_STORE", "s3://bucket/store")
    with pytest.raises(ParamsError, match="s3://bucket/store, but must be a folder"):
        store_folder()


def test_by_default_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("GRAFT_STORE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "graft"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_folder() == tmp_path / ".cache" / "graft"
    monkeypatch.setattr("sys.platform", "darwin")
    assert store_folder() == tmp_path / "Library" / "Caches" / "graft"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert store_folder() == tmp_path / "local" / "graft"
