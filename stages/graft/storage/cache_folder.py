"""Cache for features and downloads, shared by all clones of the repository."""

import os
from pathlib import Path

from stages.graft.core.errors import ParamsError
from stages.graft.storage.s3 import is_remote

STATES = "finetuning"
"""Folder of the cache with the states from which interrupted trainings continue."""


def feature_store_location() -> Path | str:
    """Give the folder of the feature store or, when `GRAFT_STORE` is s3://…, its address."""
    chosen = os.environ.get("GRAFT_STORE", "")
    return chosen if is_remote(chosen) else store_folder()


def store_folder() -> Path:
    """Give the folder for features and downloads: `GRAFT_STORE`, or `graft` in the user's cache folder.

    A relative `GRAFT_STORE` is relative to the repository's root, so that an experiment in a temporary folder uses the
    same one. When it is s3://…, only features are stored there, and all else in the user's cache folder. The folder
    need not exist yet.

    Raises:
        ParamsError: `GRAFT_STORE` is another address, such as https://…
    """
    chosen = os.environ.get("GRAFT_STORE")
    if chosen and "://" in chosen and not is_remote(chosen):
        raise ParamsError(f"GRAFT_STORE is {chosen}, but must be a folder or s3://bucket/folder")
    if chosen and not is_remote(chosen):
        return Path(os.environ.get("DVC_ROOT", Path.cwd())) / Path(chosen).expanduser()
    from platformdirs import user_cache_path  # 20 ms

    return user_cache_path("graft", appauthor=False, opinion=False)
