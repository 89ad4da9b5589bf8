"""The pinned versions of libraries and of everything they need, from the lock file."""

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stages.graft.core.errors import DataError


def pinned_requirements(names: Iterable[str], lock: Path) -> list[str]:
    """List libraries and what they need in turn, as `name==version`, sorted; for this operating system.

    Args:
        names: of installed libraries.
        lock: the lock file; one `name==version` a line, with its condition after a semicolon; hashes in the
            lines after it.
    Raises:
        DataError: there is no lock file, or it lacks one of the libraries named.
    """
    asked = [str(canonicalize_name(name)) for name in names]
    versions = _versions(lock)
    if missing := [name for name in asked if name not in versions]:
        raise DataError(f"{lock} lacks {', '.join(missing)}; `make lock` writes it")
    return [f"{name}{versions[name]}" for name in sorted(_with_dependencies(asked)) if name in versions]


def _versions(lock: Path) -> dict[str, str]:
    if not lock.is_file():
        raise DataError(f"{lock} is missing: no model can be registered without its libraries' versions")
    lines = lock.read_text(encoding="utf-8").splitlines()
    lines = [line.rstrip(" \\") for line in lines if line and line[0] not in "# -"]  # hashes are in lines of their own
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    return {str(canonicalize_name(pin.name)): str(pin.specifier) for pin in pins}


def _with_dependencies(names: Sequence[str]) -> set[str]:
    """The libraries and everything they need, by the metadata of the installed packages."""
    seen, todo = set[str](), [Requirement(name) for name in names]
    while todo:
        library = todo.pop()
        if str(library) not in seen:
            seen.add(str(library))
            todo += [Requirement(f"{needed.name}{_extras(needed)}") for needed in _dependencies(library)]
    return {str(canonicalize_name(Requirement(text).name)) for text in seen}


def _dependencies(library: Requirement) -> list[Requirement]:
    try:
        needed = map(Requirement, requires(library.name) or ())
    except PackageNotFoundError:  # of another operating system
        return []
    extras = ("", *library.extras)
    return [each for each in needed if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras)]


def _extras(library: Requirement) -> str:
    return f"[{','.join(sorted(library.extras))}]" if library.extras else ""
