"""Errors that a user can correct.

GraftError            any of them; a stage shows it in one or two lines and ends with exit code 1
├── ParamsError       a parameter is missing, unknown, of the wrong type or out of range
├── DataError         an image, a table or an archive is not what was expected
└── WeightsError      a weights file is missing, damaged, of the wrong network or cannot be fetched
"""

import re

MAX_WORD = 1000
"""Characters that are shown of a name or another text without spaces."""


class GraftError(Exception):
    """An error the user can correct: the message says what, where, what was found and what to do.

    What a terminal would obey or hide in it, such as in a file's name, is escaped; very long names are cut.
    """

    def __init__(self, message: object = "") -> None:
        """Make an error with a message that can be shown anywhere."""
        super().__init__(printable(re.sub(rf"\S{{{MAX_WORD},}}", lambda word: word[0][:MAX_WORD] + "…", str(message))))


class ParamsError(GraftError):
    """A parameter in params.yaml is missing, unknown, of the wrong type or out of range."""


class DataError(GraftError):
    """An image, a table or an archive is not what was expected."""


class WeightsError(GraftError):
    """A weights file is missing, damaged, of the wrong network, or cannot be fetched."""


def printable(text: str) -> str:
    """Escape what is no printable character or line end, such as the beginning of a terminal's commands."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException, max_length: int = 200) -> str:
    """Give an error's message in one line of at most `max_length` characters; without a message, its class's name."""
    return printable(" ".join(str(error).split()))[:max_length] or type(error).__name__
