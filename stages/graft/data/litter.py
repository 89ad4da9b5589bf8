"""Files that systems and programs leave among images; they are passed over and counted."""

from collections.abc import Iterable

SYSTEM_FOLDERS = frozenset(
    [
        "__macosx",
        "__pycache__",
        "lost+found",
        "lost.dir",
        "system volume information",
        "found.000",
        "$recycle.bin",
        "recycler",
        "recycled",
        "#recycle",
        "@recycle",
        "@recently-snapshot",
        "#snapshot",
        "@eadir",
        "@tmp",
        "@sharebin",
        "network trash folder",
        "temporary items",
    ]
)
"""Names in lower case; macOS, Windows, Linux, Android, and the network storage of Synology and QNAP make them."""


def is_hidden(file: str) -> bool:
    """Say whether a file or a folder above it has a name that begins with a dot, or is a folder that systems make."""
    return any(_is_hidden_name(part) for part in file.split("/"))


def count_hidden(files: Iterable[str], folders: Iterable[str]) -> int:
    """Count hidden files; a hidden folder in which none was found (empty, or it may not be listed) counts as one."""
    tops = [_hidden_top(file) for file in files if is_hidden(file)]
    return len(tops) + len({_hidden_top(folder) for folder in folders if is_hidden(folder)} - set(tops))


def above_hidden(file: str) -> str:
    """Give the path above the first hidden part of a hidden path; empty in the source itself."""
    return _hidden_top(file).rpartition("/")[0]


def _is_hidden_name(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def _hidden_top(file: str) -> str:
    """Give the path down to the first hidden part."""
    parts = file.split("/")
    first = next(number for number, part in enumerate(parts) if _is_hidden_name(part))
    return "/".join(parts[: first + 1])
