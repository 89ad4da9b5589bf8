"""Copies of `graft repro` for the stages that DVC starts below it: each is a fork, with the libraries loaded already.

DVC still starts, watches and records every stage as a process of its own; that one hands its work over, by
`stages.graft.core.handover`, and ends as its copy ends. A guard between the two passes on how:

    graft repro -- dvc repro -- python -m stages.NAME
        \\                              | (a socket)
         `--------------------------- guard -- copy

Linux only: elsewhere a fork is not safe once libraries are loaded.
"""

import atexit
import ctypes
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn

from stages.graft.core.handover import ADDRESS, PASSED_ON, installation
from stages.graft.core.interruption import INTERRUPTED, watch_imports

LOADED = time.time()
"""When this process began to load its code. A file of the code that is younger must be read again: no copy."""

SECONDS_TO_SAY = 5.0
"""Within this time a stage says what it wants."""

_DIE_WITH_PARENT = 1
"""Linux's PR_SET_PDEATHSIG."""


@contextmanager
def offered() -> Iterator[socket.socket | None]:
    """Offer copies to all stages that are started inside; gives where they ask, None where there can be no copies."""
    with ExitStack() as stack:
        yield _listen(stack)


def _listen(stack: ExitStack) -> socket.socket | None:
    try:
        os.close(os.pidfd_open(os.getpid()))
        folder = tempfile.mkdtemp(prefix="graft-")  # for this user alone
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        asked = stack.enter_context(socket.socket(socket.AF_UNIX))
        asked.bind(f"{folder}/copies")
        asked.listen()
    except (AttributeError, OSError):  # another system, an old Linux, no room, or a long name
        return None
    os.environ[ADDRESS] = f"{folder}/copies"
    stack.callback(os.environ.pop, ADDRESS, None)
    return asked


def wait_and_copy(process: "subprocess.Popen[bytes]", asked: socket.socket | None) -> int:
    """Wait until a process has ended, and give its exit code; copy this one for every stage that asks for it."""
    if asked is None:
        return process.wait()
    end, guards = os.pidfd_open(process.pid), dict[int, int]()
    try:
        while end not in (ready := select.select([asked.fileno(), end, *guards], [], [])[0]):
            for ended in guards.keys() & set(ready):
                os.waitpid(guards.pop(ended), 0)
                os.close(ended)
            if asked.fileno() in ready:
                line, _ = asked.accept()
                with line:
                    if guard := _answer(line, asked):
                        guards[os.pidfd_open(guard)] = guard
    finally:
        for one in (end, *guards):
            os.close(one)
    return process.wait()


def _answer(line: socket.socket, asked: socket.socket) -> int | None:
    """Read what a stage asks for, and start its guard; None, without an answer, when the stage has to work itself."""
    line.settimeout(SECONDS_TO_SAY)
    descriptors: list[int] = []
    try:
        descriptors = socket.recv_fds(line, 1, 3)[1]
        request = json.loads(line.makefile("rb").readline())
        if request["installation"] == installation() and _load(request["stage"]):
            line.settimeout(None)
            return _fork_guard(line, asked, descriptors, request)
    except (OSError, ValueError):
        pass
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def _load(stage: str) -> bool:
    """Import all that a stage imports; give whether that worked, and the code is still the one on disk."""
    name = f"stages.{stage}"
    try:
        import_module(name)
    except Exception:  # the stage itself shows it
        return False
    delattr(sys.modules["stages"], stage)
    del sys.modules[name]  # the copy runs it as the main program
    files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "stages"]
    try:
        return all(os.stat(file).st_mtime < LOADED for file in files if file)
    except OSError:
        return False


def _fork_guard(
    line: socket.socket, asked: socket.socket, descriptors: Sequence[int], request: dict[str, Any]
) -> int | None:
    if threading.active_count() > 1:  # a lock that another thread holds would stay locked in a copy
        return None
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    try:
        if guard := os.fork():
            return guard
        try:
            asked.close()
            _guard(line, descriptors, request)
        finally:
            os._exit(1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _guard(line: socket.socket, descriptors: Sequence[int], request: dict[str, Any]) -> None:
    """Start the copy, say which process it is, wait, and say how it ended.

    Signals to the group of `graft repro` reach neither of them.
    """
    os.setpgid(0, 0)
    guard = os.getpid()
    if (copy := os.fork()) == 0:
        try:
            line.close()
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            if os.getppid() == guard:
                _run(request, descriptors)
        finally:
            os._exit(1)
    with suppress(OSError):  # it may have done so itself
        os.setpgid(copy, copy)
    for descriptor in descriptors:
        os.close(descriptor)
    with suppress(OSError):
        line.sendall(f"{copy}\n".encode())
    ready, _, _ = select.select([line.fileno(), os.pidfd_open(copy)], [], [])
    if line.fileno() in ready:  # the stage that DVC knows has been killed
        os.killpg(copy, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    with suppress(OSError):
        line.sendall(f"{code}\n".encode())


def _run(request: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Be the stage: in its place, with its variables, its input and output, and its answer to signals.

    Signals come from the process that DVC knows, for the whole group of the copy.
    """
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    code: Any = 0
    try:
        _take_over(request)
        runpy.run_module(f"stages.{request['stage']}", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as Python ends, without what `graft repro` itself has to do
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _take_over(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    sys.argv[:], sys.orig_argv[:] = request["arguments"]
    for number in PASSED_ON:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    watch_imports()
