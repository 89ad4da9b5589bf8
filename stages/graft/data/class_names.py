"""Names of classes and groups as text: one form of Unicode, and no two classes that a person takes for one."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from stages.graft.core.errors import DataError

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))
"""Unicode categories of characters that show nothing, such as a zero-width space or a soft hyphen."""


_CONTROLS = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode categories of characters that a name cannot have: controls, half characters, and separators of lines."""


def normal_form(name: str) -> str:
    """Give a name in Unicode's composed form, NFC: macOS writes the same text decomposed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def check_label(label: str, where: str) -> None:
    """Refuse a name that could act in the page or the terminal that shows it; `where` is its line or folder.

    Raises:
        DataError: it has `<`, `>` or a control character.
    """
    if any(character in "<>" or unicodedata.category(character) in _CONTROLS for character in label):
        raise DataError(f"{where}: the class `{_visible(label)}` has `<`, `>` or a control character; rename it")


def check_names(classes: Iterable[str], where: str) -> None:
    """Refuse classes as `check_label` does, and those whose names differ only in case, spaces or invisible characters.

    Args:
        classes: names, each in normal form.
        where: name of the source, for the message.
    """
    classes = sorted(set(classes))
    for name in classes:
        check_label(name, where)
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[_as_read(name)].append(name)
    problems = [_explain(names) for names in alike.values() if len(names) > 1]
    if problems:
        raise DataError(f"{where}: {'; '.join(problems)}; rename one: the same name for one class, another for two")


def _explain(names: list[str]) -> str:
    visible = [_visible(name) for name in names]
    if len({_without_invisible(name) for name in names}) == 1:
        difference = "in invisible characters"
    elif len({_spaced(name) for name in names}) == 1:
        difference = "in spaces"
    elif len({name.casefold() for name in names}) == 1:
        difference = "in case"
    else:
        difference = "in case, spaces or invisible characters"
    return f"the classes {' and '.join(f'`{name}`' for name in visible)} differ {difference} only"


def _as_read(name: str) -> str:
    """Give what a person reads: without case, invisible characters and spaces that do not separate words."""
    return unicodedata.normalize("NFC", _spaced(_without_invisible(name)).casefold())


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _without_invisible(name: str) -> str:
    return "".join(character for character in name if not _is_invisible(character))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE or "\ufe00" <= character <= "\ufe0f"


def _visible(name: str) -> str:
    """Write invisible characters as escapes."""
    return "".join(
        character if character.isprintable() and not _is_invisible(character) else _escape(character)
        for character in name
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
