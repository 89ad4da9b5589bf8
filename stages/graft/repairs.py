"""Shell commands that bring a damaged file back; a person reads them before he runs them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

MANY = 5
"""More damaged files of one folder than this, and the whole folder goes."""


def remove(paths: Sequence[Path], folder: Path | None = None) -> list[str]:
    """Remove files, or the folder they are in where they are many; nothing for no files."""
    if folder is not None and len(paths) > MANY:
        return [f"rm -rf {quoted(folder)}"]
    return [f"rm -f {' '.join(map(quoted, paths))}"] if paths else []


def refill_command(path: str) -> str:
    """Put an output's good files in the place of objects that DVC's cache has lost."""
    return f"graft verify --refill {quoted(path)}"


def checkout(path: str) -> str:
    """Bring an output back from DVC's cache."""
    return f"dvc checkout --force {quoted(path)}"


def pull_or_make(path: str, stage: str, has_remote: bool) -> str:
    """Bring an output back from the remote, or make it anew; the same bytes either way."""
    make = f"dvc repro --force --single-item {stage}"
    return f"dvc pull --force {quoted(path)} || {make}" if has_remote else make


def from_git(path: str) -> str:
    """Bring a file back as the last commit holds it."""
    return f"git checkout HEAD -- {quoted(path)}"


def quoted(path: str | Path) -> str:
    """A path as the shell takes it."""
    return shlex.quote(str(path))
