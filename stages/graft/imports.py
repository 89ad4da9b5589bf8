"""Which of the project's files a file reaches through its imports, read from their text: nothing is imported."""

import ast
from collections.abc import Collection
from pathlib import Path

from stages.graft.errors import GraftError

PACKAGE = "stages"
"""The project's package, a folder in its root."""


def reached(start: str, root: Path, outside: Collection[str] = (), lazy: bool = True) -> set[Path]:
    """The file of a module, and every file of the project that it imports, directly or not.

    Args:
        start: a module of the project, such as `stages.split`.
        root: the project's folder.
        outside: modules of the library, such as `tracking`, left out with all that only they import.
        lazy: also what is imported inside functions, when they are called; else what starting it imports.
    Raises:
        GraftError: as in `imported`.
    """
    seen: set[Path] = set()
    todo = {start}
    while todo:
        path = _file_of(todo.pop(), root)
        if path is not None and path not in seen and path.stem not in outside:
            seen.add(path)
            todo |= imported(path, lazy)
    return seen


def imported(path: Path, lazy: bool = True) -> set[str]:
    """The names of the modules that a file imports; of `from a import b`, both `a` and `a.b`.

    Args:
        path: a Python file.
        lazy: as in `reached`.
    Raises:
        GraftError: it is not valid Python, or it imports from a relative name.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise GraftError(f"{path}, line {error.lineno}, is not valid Python: {error.msg}") from None
    names: set[str] = set()
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise GraftError(
                    f"{path}, line {node.lineno}, imports from a relative name; write the module's whole name"
                )
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _file_of(module: str, root: Path) -> Path | None:
    path = root / f"{module.replace('.', '/')}.py"
    return path if module.startswith(f"{PACKAGE}.") and path.is_file() else None
