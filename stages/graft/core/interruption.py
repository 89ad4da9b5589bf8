"""Ctrl-C and SIGTERM: one line, whenever they come; also while Python still imports, before any work begins."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit code."""


class Interruption:
    """Raises KeyboardInterrupt, with the number of the signal, at Ctrl-C and SIGTERM.

    It remembers that: libraries turn the exception into errors of their own.
    """

    def __init__(self) -> None:
        """Begin to watch."""
        self.came = False
        signal.signal(signal.SIGTERM, self._raise)  # as Ctrl-C, so that temporary files are removed
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as nohup does
            signal.signal(signal.SIGINT, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt(number)


def describe(name: str, again: str) -> str:
    """Give the line for a person who interrupted a stage or a command; `again` is the command that continues."""
    return f"\n{name}: interrupted; nothing half-written is left, `{again}` goes on from here"


def watch_imports() -> None:
    """Until an `Interruption` takes over, let Ctrl-C end a stage that runs as the main program at once, with a line."""
    if module_run() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def module_run() -> str:
    """Name the stage that runs as `python -m stages.NAME`; empty in any other process."""
    names = [after for before, after in zip(sys.orig_argv, sys.orig_argv[1:], strict=False) if before == "-m"]
    return names[0].removeprefix("stages.") if names and names[0].startswith("stages.") else ""


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process: nothing has been begun."""
    os.write(2, f"{describe(module_run(), 'dvc repro')}\n".encode())
    os._exit(INTERRUPTED)
