"""The store outside the repository: what is costly to make again is kept there and shared by all clones."""

import os
import sys
from pathlib import Path

from stages.graft.core.errors import ParamsError
from stages.graft.storage.s3 import is_remote

STATES = "finetuning"
"""Folder of the store with what killed trainings go on from."""


def feature_store_location() -> Path | str:
    """Give where features are kept: the store's folder or, when `GRAFT_STORE` is s3://…, that address."""
    chosen = os.environ.get("GRAFT_STORE", "")
    return chosen if is_remote(chosen) else store_folder()


def store_folder() -> Path:
    """Give the folder for features and downloads: `GRAFT_STORE`, or `graft` in the user's cache folder.

    A relative `GRAFT_STORE` counts from the repository's root, so that an experiment in a temporary folder shares it.
    When it is s3://…, features alone are there; the folder, in the user's cache folder, has the rest. It need not exist
    yet.

    Raises:
        ParamsError: `GRAFT_STORE` is another address, such as https://…
    """
    chosen = os.environ.get("GRAFT_STORE")
    if chosen and "://" in chosen and not is_remote(chosen):
        raise ParamsError(f"GRAFT_STORE is {chosen}, but must be a folder or s3://bucket/folder")
    if chosen and not is_remote(chosen):
        return Path(os.environ.get("DVC_ROOT", Path.cwd())) / Path(chosen).expanduser()
    return _cache_folder() / "graft"


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
