"""What to tell a user about a folder or file that cannot be made, written or read: which setting names it.

Every stage and command calls `explain` by name, as with `start_checks`.
"""

import os
import tempfile
from pathlib import Path

from stages.graft.core.errors import GraftError
from stages.graft.core.params import PARAMS, read_yaml
from stages.graft.storage.cache_folder import store_folder


def explain(error: OSError) -> str:
    """Say in one line what is wrong with a place, and what to do; the error names a file."""
    path = Path(os.fsdecode(error.filename)).absolute()
    reason = f"{path}: {error.strerror}" if error.strerror else str(path)
    store, source = store_folder().absolute(), _source()
    if _is_within(path, store) or _is_within(store, path):
        return f"the store {store} cannot be made or written ({reason}); set GRAFT_STORE to a folder that can be"
    if source is not None and _is_within(path, source):
        return f"the source {source} cannot be read ({reason}); correct `ingest.source` or the permissions"
    if _is_within(path, Path(tempfile.gettempdir())):
        return f"a temporary file cannot be made or read ({reason}); set TMPDIR to a folder that can be written"
    return f"a file or folder cannot be made, written or read ({reason})"


def _source() -> Path | None:
    """The folder or file of `ingest.source`; None when there is none here."""
    try:
        source = read_yaml(PARAMS)["ingest"]["source"]
        return None if "://" in source else Path(source).absolute()
    except (GraftError, OSError, KeyError, TypeError):
        return None


def _is_within(path: Path, folder: Path) -> bool:
    return path == folder or (folder in path.parents and folder != folder.parent)
