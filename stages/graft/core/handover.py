"""A stage that `graft repro` starts hands its work to a copy of that process, which has numpy, pandas and more loaded.

On a small set a stage imports for longer than it works. Where no copy can be had, as under plain `dvc repro`, it works
itself. Imports only the standard library, and little of it.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import IO, Any

from stages.graft.core.interruption import module_run

ADDRESS = "GRAFT_COPIES"
"""Environment variable: the Unix socket where a copy can be asked for."""

PASSED_ON = (signal.SIGINT, signal.SIGTERM) + ((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())


def hand_over() -> None:
    """Let a copy run this stage, and end as it ends; return where there is none, or in another process than a stage."""
    address = os.environ.pop(ADDRESS, "")
    if not address or module_run() != os.environ.get("DVC_STAGE"):
        return
    with socket.socket(socket.AF_UNIX) as line:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # a signal waits until it can be passed on
        try:
            answers = _ask(line, address)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if answers is None:
            return
        code = int(answers.readline() or -signal.SIGKILL)
    if code < 0:  # the copy was killed, and so is this process
        with suppress(OSError):  # nothing else can be set for SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _ask(line: socket.socket, address: str) -> IO[bytes] | None:
    """Ask for a copy, and pass signals on to it; give where it says how it ended, None without a copy."""
    try:
        line.connect(address)
        socket.send_fds(line, [b"3"], [0, 1, 2])
        line.sendall(json.dumps(request()).encode() + b"\n")
        answers = line.makefile("rb")
        _pass_on_signals(int(answers.readline()))
    except (OSError, ValueError):  # `graft repro` has ended, or refuses
        return None
    return answers


def request() -> dict[str, Any]:
    """Describe this process; a copy can stand for it only if `installation` is the same there."""
    return {
        "installation": installation(),
        "stage": module_run(),
        "arguments": [sys.argv, sys.orig_argv],
        "folder": os.getcwd(),
        "variables": dict(os.environ),
    }


def installation() -> list[str]:
    """Name the Python and the code that run here."""
    return [sys.prefix, sys.version, *sys.modules["stages"].__path__]


def _pass_on_signals(group: int) -> None:
    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # it ends already
            os.killpg(group, number)

    def stop_both(number: int, frame: FrameType | None) -> None:
        pass_on(signal.SIGSTOP, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        pass_on(signal.SIGCONT, None)  # from here, both go on

    for number in PASSED_ON:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.signal(signal.SIGTSTP, stop_both)
