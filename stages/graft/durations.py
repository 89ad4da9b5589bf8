"""How long each stage took when it last ran on this machine: kept beside the reports, for the page alone."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from stages.graft.artifacts import read_json, write_json

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
    """Of the machine."""


def timed(stage: str, main: Callable[[], None], root: Path = Path()) -> Callable[[], None]:
    """Give a main that also notes how long it took; one that fails leaves the older note.

    Args:
        stage: whose main it is.
        main: what it does.
        root: the pipeline's folder.
    """

    def run() -> None:
        start = time.monotonic()
        main()
        seconds = round(time.monotonic() - start, 2)
        finished = datetime.now().isoformat(timespec="seconds")
        one = Duration(seconds=seconds, finished=finished, num_cpus=os.cpu_count() or 1)
        write_json(asdict(one), root / FOLDER / f"{stage}.json")

    return run


def read_duration(stage: str, root: Path = Path()) -> Duration | None:
    """Read a stage's last duration; None when it never ran here."""
    path = root / FOLDER / f"{stage}.json"
    return Duration(**read_json(path)) if path.exists() else None
