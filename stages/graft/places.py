"""The one folder outside the repository: what is costly to make again is kept there and shared by all clones."""

import os
import sys
from pathlib import Path

from stages.graft.errors import ParamsError

STATES = "finetuning"
"""Folder of the store with what killed trainings go on from."""


def store_folder() -> Path:
    """Give the folder for features and downloads: `GRAFT_STORE`, or `graft` in the user's cache folder.

    A relative `GRAFT_STORE` counts from the repository's root, so that an experiment in a temporary folder shares it.
    The folder need not exist yet.

    Raises:
        ParamsError: it is an address, such as s3://…
    """
    chosen = os.environ.get("GRAFT_STORE")
    if chosen and "://" in chosen:
        raise ParamsError(f"GRAFT_STORE is {chosen}, but must be a folder; machines share one by NFS, for instance")
    if chosen:
        return Path(os.environ.get("DVC_ROOT", Path.cwd())) / Path(chosen).expanduser()
    return _cache_folder() / "graft"


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
