from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from stages.graft.core.errors import ParamsError
from stages.graft.storage.cache_folder import feature_store_location, store_folder


def test_the_environment_decides(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "here"))
    assert store_folder() == tmp_path / "here"


def test_a_relative_place_counts_from_the_repository(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_STORE", "cache")
    monkeypatch.chdir(tmp_path)
    assert store_folder() == tmp_path / "cache"
    monkeypatch.setenv("DVC_ROOT", "/repository")  # as in an experiment in a temporary folder
    assert store_folder() == Path("/repository/cache")


def test_features_may_be_in_s3_and_the_rest_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GRAFT_STORE", "s3://bucket/store")
    assert (feature_store_location(), store_folder()) == ("s3://bucket/store", tmp_path / "graft")
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "here"))
    assert feature_store_location() == store_folder() == tmp_path / "here"


def test_other_addresses_are_refused(monkeypatch):
    monkeypatch.setenv("GRAFT_STORE", "https://bucket/store")
    for place in (store_folder, feature_store_location):
        with pytest.raises(ParamsError, match="https://bucket/store, but must be a folder or s3://"):
            place()


def test_by_default_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("GRAFT_STORE")
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "graft"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_folder() == tmp_path / ".cache" / "graft"
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    assert store_folder() == tmp_path / "Library" / "Caches" / "graft"
    monkeypatch.setattr(platformdirs, "PlatformDirs", Windows)
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda name: str(tmp_path / name))
    assert store_folder() == tmp_path / "CSIDL_LOCAL_APPDATA" / "graft"
