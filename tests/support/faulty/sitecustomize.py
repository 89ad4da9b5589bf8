"""Python imports this at its start when its folder is on PYTHONPATH: it kills a process where the test says.

FAULT=<what>:<moment>    what: a stage, or dvc; moment: start, half:N (the Nth file is half written), whole:N (it is
                         written, but not under its name yet), end (all is done, DVC does not know it yet)
FAULT_SIGNAL=<number>    instead of SIGKILL: one that the process may still answer, so that no file is half written then
"""

import atexit
import os
import runpy
import shutil
import signal
import sys
import time
from typing import Any

SIGNAL = int(os.environ.get("FAULT_SIGNAL", signal.SIGKILL))


def _kill() -> None:
    """End this process and DVC, which share a group, as a power cut would, or as Ctrl-C and SIGTERM do."""
    atexit.unregister(_kill)  # one signal is enough
    is_copy = os.getpgrp() == os.getpid()  # of `graft repro`, which leads the session
    os.killpg(os.getsid(0) if is_copy else 0, SIGNAL)
    time.sleep(3)  # the interruption comes here, not after the next step


def _name() -> str:
    arguments = sys.orig_argv
    if "-m" in arguments:
        return arguments[arguments.index("-m") + 1].removeprefix("stages.")
    return os.path.basename(arguments[1]) if len(arguments) > 1 else ""


def _at(how: str, number: int) -> None:
    """Die at the Nth file or link that gets its name."""
    left = [number]

    def watched(call: Any) -> Any:
        def wrapper(source: Any, *arguments: Any, **options: Any) -> Any:
            if str(source).endswith((".tmp", ".safetensors")) or _name() == "dvc":
                left[0] -= 1
            if left[0] == 0:
                if how == "half" and os.path.isfile(source) and _name() != "dvc":
                    os.truncate(source, os.path.getsize(source) // 2)
                _kill()
            return call(source, *arguments, **options)

        return wrapper

    for module, name in ((os, "replace"), (os, "rename"), (os, "link"), (shutil, "move")):
        setattr(module, name, watched(getattr(module, name)))


def _arm() -> None:
    if moment == "start":
        _kill()
    atexit.register(_kill)
    if moment != "end":
        how, _, number = moment.partition(":")
        _at(how, int(number))


def _arm_copies() -> None:
    """Arm the stage in a copy of `graft repro`, where Python does not start."""
    run = runpy.run_module

    def armed(*arguments: Any, **options: Any) -> Any:
        if what == _name():
            _arm()
        return run(*arguments, **options)

    runpy.run_module = armed


what, _, moment = os.environ.get("FAULT", "").partition(":")
if what and what == _name():
    _arm()
elif what and _name() == "graft":
    _arm_copies()
