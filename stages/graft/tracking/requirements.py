"""The versions that some libraries and all they need are pinned at in the lock file."""

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stages.graft.core.errors import DataError


def pinned_requirements(names: Iterable[str], lock: Path) -> list[str]:
    """List libraries and what they need in turn, as `name==version`, sorted; for the system this runs on.

    Args:
        names: of libraries that are installed.
        lock: the lock file; one `name==version` a line, after a semicolon when it counts.
    Raises:
        DataError: there is no lock file, or it lacks one of the libraries named.
    """
    asked = [str(canonicalize_name(name)) for name in names]
    versions = _versions(lock)
    if missing := [name for name in asked if name not in versions]:
        raise DataError(f"{lock} lacks {', '.join(missing)}; `make lock` writes it anew")
    return [f"{name}{versions[name]}" for name in sorted(_with_needs(asked)) if name in versions]


def _versions(lock: Path) -> dict[str, str]:
    if not lock.is_file():
        raise DataError(f"{lock} is missing: no model can be registered without its libraries' versions")
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if line and line[0] not in "# -"]
    locked = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    return {str(canonicalize_name(one.name)): str(one.specifier) for one in locked}


def _with_needs(names: Sequence[str]) -> set[str]:
    """The libraries and, by what is installed here, all they need."""
    seen, todo = set[str](), [Requirement(name) for name in names]
    while todo:
        one = todo.pop()
        if str(one) not in seen:
            seen.add(str(one))
            todo += [Requirement(f"{need.name}{_extras(need)}") for need in _needs(one)]
    return {str(canonicalize_name(Requirement(text).name)) for text in seen}


def _needs(library: Requirement) -> list[Requirement]:
    try:
        found = map(Requirement, requires(library.name) or ())
    except PackageNotFoundError:  # of another system
        return []
    extras = ("", *library.extras)
    return [one for one in found if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)]


def _extras(library: Requirement) -> str:
    return f"[{','.join(sorted(library.extras))}]" if library.extras else ""
