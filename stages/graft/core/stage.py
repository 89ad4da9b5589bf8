"""How a stage or a command runs: user errors in one line, exit codes, and how long a stage took."""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from stages.graft.core.errors import GraftError

FOLDER = "reports/times"
"""Relative to the pipeline's root. No out of any stage, and not in git: times differ between runs that are the same."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """One run of a stage."""

    seconds: float
    """From the start of its work to the end, without starting Python."""
    finished: str
    """Local time, ISO 8601, to the second."""
    num_cpus: int
    """Processors of the machine."""


def run_stage(stage: str, main: Callable[[], None], root: Path = Path()) -> None:
    """Run a stage's main as `run` does, and note how long it took; a stage that fails keeps the older note.

    Args:
        stage: the stage's name.
        main: what it does.
        root: the pipeline's folder.
    """

    def timed() -> None:
        start = time.monotonic()
        main()
        seconds = round(time.monotonic() - start, 2)
        finished = datetime.now().isoformat(timespec="seconds")
        path = root / FOLDER / f"{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        duration = Duration(seconds=seconds, finished=finished, num_cpus=os.cpu_count() or 1)
        path.write_text(json.dumps(asdict(duration)) + "\n", encoding="utf-8")

    run(stage, timed)


def read_duration(stage: str, root: Path = Path()) -> Duration | None:
    """Read how long a stage took when it last ran on this machine; None when there is no whole note of it."""
    try:
        return Duration(**json.loads((root / FOLDER / f"{stage}.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


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
