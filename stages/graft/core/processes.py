"""Which process, on which computer: named so that a later one can tell whether it still runs."""

import os
import platform
from pathlib import Path


def this_host() -> str:
    """Name this computer; containers that share its name but not its processes get another one."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, AttributeError):  # not Linux
        return platform.node()


def this_process() -> str:
    """Name this process so that a later one with the same number is not taken for it."""
    return f"{os.getpid()}@{_started(os.getpid())}"


def is_gone(process: str) -> bool:
    """Tell whether a process of this host, as `this_process` named it, has ended; False when that cannot be known."""
    pid, _, started = process.partition("@")
    if not pid.isdecimal() or os.name == "nt":  # there, asking by signal 0 would end the process
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it has ended, or /proc does not say it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # ended, and nobody has asked how: it may stay listed for ever
