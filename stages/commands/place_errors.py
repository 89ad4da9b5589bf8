"""What to tell a user about a folder or file that cannot be made, written or read: which setting names it.

Every stage and command calls `explain` by name, as with `start_checks`.
"""

import os
import tempfile
from pathlib import Path

from stages.graft.core.errors import GraftError
from stages.graft.core.params import PARAMS, flatten, read_yaml
from stages.graft.storage.cache_folder import store_folder


def explain(error: OSError) -> str:
    """Say in one line what is wrong with a place, and what to do; the error names a file."""
    path = Path(os.fsdecode(error.filename)).absolute()
    reason = f"{path}: {error.strerror}" if error.strerror else str(path)
    store = store_folder().absolute()
    if _is_within(path, store) or _is_within(store, path):
        return f"the store {store} cannot be made or written ({reason}); set GRAFT_STORE to a folder that can be"
    if setting := _setting_of(path):
        return f"{setting}, which cannot be read ({reason}); correct it, or the permissions"
    if _is_within(path, Path(tempfile.gettempdir())):
        return f"a temporary file cannot be made or read ({reason}); set TMPDIR to a folder that can be written"
    return f"a file or folder cannot be made, written or read ({reason})"


def _setting_of(path: Path) -> str | None:
    """The parameter that names a file, or a folder around it, in words; None when there is none."""
    try:
        params = flatten(read_yaml(PARAMS))
    except (GraftError, OSError):
        return None
    named = ((key, value) for key, value in params.items() if isinstance(value, str) and "://" not in value)
    return next(
        (f"`{key}` in {PARAMS} names {value}" for key, value in named if _is_within(path, Path(value).absolute())), None
    )


def _is_within(path: Path, folder: Path) -> bool:
    return path == folder or (folder in path.parents and folder != folder.parent)
