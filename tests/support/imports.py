"""Which of the project's files a file reaches through its imports, read from their text: nothing is imported."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

STAGES = (
    "ingest",
    "duplicates",
    "split",
    "extract",
    "train_head",
    "finetune",
    "explore",
    "explain",
    "evaluate",
    "report",
)
"""The pipeline's, in order."""


def reached(start: Path, root: Path, outside: frozenset[str] = frozenset(), lazy: bool = True) -> set[Path]:
    """A file, and every file of the project that it imports, directly or not.

    Args:
        start: the file.
        root: the project's folder.
        outside: packages of the library, such as `tracking`, left out with all that only they import.
        lazy: also what is imported inside functions, when they are called; else what starting it imports.
    """
    seen: set[Path] = set()
    todo = {start}
    while todo:
        path = todo.pop()
        if path not in seen and package_of(path, root) not in outside:
            seen.add(path)
            todo |= {file for name in imported(path, lazy) if (file := _file_of(name, root))}
    return seen


@cache
def imported(path: Path, lazy: bool = True) -> frozenset[str]:
    """The names of the modules that a file imports; of `from a import b`, both `a` and `a.b`.

    Raises:
        ValueError: it imports from a relative name.
    """
    tree = ast.parse(path.read_bytes())
    names: set[str] = set()
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}, line {node.lineno}, imports from a relative name")
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def arrows(path: Path, root: Path) -> Iterator[Path]:
    """The project's files that a file imports."""
    return (file for name in imported(path) if (file := _file_of(name, root)))


def package_of(path: Path, root: Path) -> str:
    """The package of the library that a file lies in; empty for a script."""
    parts = path.relative_to(root).parts
    return parts[2] if parts[:2] == ("stages", "graft") and len(parts) > 3 else ""


def _file_of(module: str, root: Path) -> Path | None:
    path = root / f"{module.replace('.', '/')}.py"
    return path if module.startswith("stages.") and path.is_file() else None
