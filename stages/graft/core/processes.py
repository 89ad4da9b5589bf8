"""Names of processes and computers, by which a later process can tell whether an earlier one still runs."""

import os
import platform
from pathlib import Path


def this_host() -> str:
    """Name this computer; a container with its own processes gets its own name."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, AttributeError):  # not Linux
        return platform.node()


def this_process() -> str:
    """Name this process by its number and its start, since numbers are used again."""
    return f"{os.getpid()}@{_started(os.getpid())}"


def is_gone(process: str) -> bool:
    """Tell whether a process of this host, named by `this_process`, has ended; False when that cannot be known."""
    pid, _, started = process.partition("@")
    if not pid.isdecimal() or os.name == "nt":  # on Windows, signal 0 would end the process
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it has ended or /proc has no entry."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie: ended, but still listed
