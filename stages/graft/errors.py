"""What can go wrong by a user's hand, and how a stage ends when it does.

GraftError            any mistake the user can mend; shown as one or two lines, exit code 1
├── ParamsError       a parameter is missing, unknown, of the wrong type or out of range
├── DataError         an image, a table or an archive is not what was expected
└── WeightsError      a weights file is missing, damaged, of the wrong network or cannot be fetched
"""

import errno
import os
import signal
import sys
from collections.abc import Callable


class GraftError(Exception):
    """A mistake the user can mend: the message says what, where, what was found and what to do."""


class ParamsError(GraftError):
    """A parameter in params.yaml is missing, unknown, of the wrong type or out of range."""


class DataError(GraftError):
    """An image, a table or an archive is not what was expected."""


class WeightsError(GraftError):
    """A weights file is missing, damaged, of the wrong network, or cannot be fetched."""


def run(stage: str, main: Callable[[], None], *, again: str = "dvc repro") -> None:
    """Run a stage's main; end a user's mistake with its message and exit code 1, Ctrl-C and SIGTERM with 130.

    Args:
        stage: whose messages these are.
        main: what it does.
        again: the command that goes on after an interruption.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same way out: temporary files are removed
    try:
        main()
    except GraftError as error:
        sys.exit(f"{stage}: error: {error}")
    except BrokenPipeError:  # whoever read what was printed has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if not _is_full(error):
            raise
        file = getattr(error, "filename", None)
        where = f", at {file}" if file else ""
        sys.exit(
            f"{stage}: error: the disk is full{where}; nothing half-written is left, `{again}` goes on after room is "
            "made (`graft store` says what the store holds, `dvc gc --workspace` empties DVC's cache of older states)"
        )
    except KeyboardInterrupt:
        print(f"\n{stage}: interrupted; nothing half-written is left, `{again}` goes on from here", file=sys.stderr)
        sys.exit(130)


def _is_full(error: Exception) -> bool:
    """Tell whether the disk, or the user's share of it, is full; libraries that do not say it by number do in words."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
