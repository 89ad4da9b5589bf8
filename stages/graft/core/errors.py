"""Errors that a user can correct.

GraftError            any of them; a stage shows it in one or two lines and ends with exit code 1
├── ParamsError       a parameter is missing, unknown, of the wrong type or out of range
├── DataError         an image, a table or an archive is not what was expected
└── WeightsError      a weights file is missing, damaged, of the wrong network or cannot be fetched
"""


class GraftError(Exception):
    """An error the user can correct: the message says what, where, what was found and what to do."""


class ParamsError(GraftError):
    """A parameter in params.yaml is missing, unknown, of the wrong type or out of range."""


class DataError(GraftError):
    """An image, a table or an archive is not what was expected."""


class WeightsError(GraftError):
    """A weights file is missing, damaged, of the wrong network, or cannot be fetched."""


def one_line(error: BaseException, max_length: int = 200) -> str:
    """Give an error's message in one line of at most `max_length` characters; without a message, its class's name."""
    return " ".join(str(error).split())[:max_length] or type(error).__name__
