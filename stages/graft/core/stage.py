"""The run of a stage or a command: user errors in one line, exit codes, and the duration."""

import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from stages.graft.core.errors import GraftError, printable
from stages.graft.core.interruption import INTERRUPTED, Interruption, describe

FOLDER = "reports/times"
"""Relative to the pipeline's root. No output of a stage and not in git, since the times of equal runs differ."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """One run of a stage."""

    seconds: float
    """Time of the work, without the start of Python."""
    finished: str
    """Local time, ISO 8601, to the second."""
    num_cpus: int
    """Processors of the machine."""
    peak_mb: int | None = None
    """Most memory that the process has held, in MB of 1,000,000 bytes; None where the system does not tell."""


START_CHECKS, PLACE_ERRORS = "stages.commands.start_checks", "stages.commands.place_errors"
LIVE = "stages.graft.tracking.live"
"""Imported by name: none of them changes an output, so no stage depends on all that they reach."""

_REFUSALS = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
     errno.ENAMETOOLONG, errno.EIO, errno.ESTALE)
)  # fmt: skip
"""What an operating system answers for a file or folder that is not there, not allowed or not reachable."""


def run_stage(stage: str, main: Callable[[], None], root: Path = Path()) -> None:
    """Check all of params.yaml, run a stage's main as `run` does, and save its duration.

    A stage that fails keeps the duration saved before, and says how the outputs that DVC has removed come back.
    """

    def timed() -> None:
        checks = import_module(START_CHECKS)
        checks.check_all_params(root)
        checks.warn_of_changed_images(stage, root)
        start = time.monotonic()
        with import_module(LIVE).watch(stage, root):
            main()
        seconds, finished = round(time.monotonic() - start, 2), datetime.now().isoformat(timespec="seconds")
        duration = Duration(seconds=seconds, finished=finished, num_cpus=os.cpu_count() or 1, peak_mb=peak_memory_mb())
        path = root / FOLDER / f"{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(duration)) + "\n", encoding="utf-8")

    try:
        run(stage, timed)
    except SystemExit as ended:
        if isinstance(ended.code, str) and _dvc_removed_outputs(stage, root):
            back = f"`dvc checkout {stage}` brings its data back, `git checkout reports` its reports"
            raise SystemExit(f"{ended.code}\n{stage}: DVC has removed the earlier outputs; {back}") from None
        raise


def peak_memory_mb() -> int | None:
    """Give the most memory that this process has held; None where the system does not tell.

    Not by getrusage: there, a process begins with the most that its parent has held.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return round(int(found[1]) * 1024 / 1e6) if found else None


def _dvc_removed_outputs(stage: str, root: Path) -> bool:
    """Whether DVC runs this stage, and knows the outputs of an earlier run."""
    lock = root / "dvc.lock"
    return "DVC_STAGE" in os.environ and lock.is_file() and f"\n  {stage}:\n" in lock.read_text(encoding="utf-8")


def read_duration(stage: str, root: Path = Path()) -> Duration | None:
    """Read the duration of a stage's last run on this machine; None when there is no readable one."""
    try:
        return Duration(**json.loads((root / FOLDER / f"{stage}.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def run(stage: str, main: Callable[[], None], *, again: str = "dvc repro") -> None:
    """Run a stage's main; a user's error ends in its message and exit code 1, Ctrl-C and SIGTERM in exit code 130.

    Args:
        stage: name of the stage, before each message.
        main: the stage's work.
        again: the command that continues after an interruption.
    """
    interruption = Interruption()
    try:
        main()
    except KeyboardInterrupt:
        _end_interrupted(stage, again)
    except GraftError as error:
        sys.exit(f"{stage}: error: {printable(str(error))}")
    except BrokenPipeError:  # the reader of the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if interruption.came:
            _end_interrupted(stage, again)
        if (problem := _problem_of_place(error, again)) is None:
            raise
        sys.exit(f"{stage}: error: {printable(problem)}")


def _end_interrupted(stage: str, again: str) -> NoReturn:
    print(describe(stage, again), file=sys.stderr)
    sys.exit(INTERRUPTED)


def _problem_of_place(error: Exception, again: str) -> str | None:
    """Explain a full disk, or a file or folder that cannot be made, written or read; None for any other error."""
    file = getattr(error, "filename", None)
    if _is_full(error):
        where = f", at {file}" if file else ""
        return (
            f"the disk is full{where}; nothing half-written is left, `{again}` goes on after room is made "
            "(`graft store` says what the store holds, `dvc gc --workspace` empties DVC's cache of older states)"
        )
    if isinstance(error, OSError) and file is not None and error.errno in _REFUSALS:
        return str(import_module(PLACE_ERRORS).explain(error))
    return None


def _is_full(error: Exception) -> bool:
    """Tell whether the disk or the user's quota is full; some libraries give only the message, not the number."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
