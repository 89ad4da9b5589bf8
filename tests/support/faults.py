"""Faults on purpose, and the count of them that the test run prints in the end."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from tests.conftest import REPOSITORY
from tests.support.clones import Clone

CLEAN = "graft verify: every byte is as dvc.lock and the store say"

TALLY = {"tried": 0, "lost": 0}
"""Faults, and those after which something was not as without them."""


@contextmanager
def fault(tried: int = 1) -> Iterator[None]:
    """Count one fault and, when what follows fails, one loss; `tried` is 0 for the look after faults counted before."""
    TALLY["tried"] += tried
    try:
        yield
    except BaseException:
        TALLY["lost"] += 1
        raise


def faulty(clone: Clone, where: str, number: int) -> dict[str, str]:
    """An environment in which a process gets a signal where `sitecustomize` is told."""
    place = f"{REPOSITORY / 'tests/support/faulty'}{os.pathsep}{clone.environment['PYTHONPATH']}"
    return clone.environment | {"FAULT": where, "FAULT_SIGNAL": str(int(number)), "PYTHONPATH": place}


def killed(clone: Clone, where: str, *command: str, number: int = signal.SIGKILL) -> str:
    """Run a command that gets a signal, with all it started, where `sitecustomize` is told; gives what it printed."""
    with subprocess.Popen(
        command, cwd=clone.folder, env=faulty(clone, where, number), start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        output, _ = process.communicate(timeout=300)
    ended = process.returncode == -signal.SIGKILL if number == signal.SIGKILL else process.returncode != 0
    assert ended, f"{where}: it was not killed\n{output}"
    assert "Traceback" not in output or number == signal.SIGTERM, output  # DVC has no answer to SIGTERM
    return output


STARTS = 0.1
"""Seconds that Python takes to reach our first line; before it, Python answers Ctrl-C itself, with a traceback."""

WAYS = (
    ("all", signal.SIGKILL),
    ("graft", signal.SIGTERM),
    ("stage", signal.SIGKILL),
    ("all", signal.SIGINT),
    ("all", signal.SIGTERM),
)
"""Who gets which signal: all processes, as by a power cut or Ctrl-C, or one, as from `kill` or a lack of memory."""


def ended_in(clone: Clone, stages: Sequence[str], seconds: float, way: tuple[str, int]) -> None:
    """Run `graft repro`, and send a signal so many seconds after the first of these stages has begun.

    All processes must end then, within half a minute.
    """
    environment = clone.environment | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        ["graft", "repro"], cwd=clone.folder, env=environment, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = list[str]()
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Running stage") and line.split("'")[1] in stages:
                break
        time.sleep(max(seconds, STARTS) if way[1] == signal.SIGINT else seconds)
        below = psutil.Process(process.pid).children(recursive=True)
        _send(process, way)
        output = "".join([*lines, *process.stdout])
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive, output
    assert process.returncode, f"it came to its end\n{output}"
    assert "Traceback" not in output or way == ("all", signal.SIGTERM), output


def _send(process: "subprocess.Popen[str]", way: tuple[str, int]) -> None:
    (who, number), found = way, list[psutil.Process]()
    if who == "all":
        os.killpg(process.pid, number)
    elif who == "graft":
        process.send_signal(number)
    else:
        while process.poll() is None and not (found := _stages_below(process.pid)):
            time.sleep(0.01)
        for one in found:
            one.send_signal(number)


def _stages_below(pid: int) -> list[psutil.Process]:
    """The running stage; empty between two of them."""
    found = list[psutil.Process]()
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "-m" in one.cmdline() and one.cmdline()[-1].startswith("stages."):
                found.append(one)
    return found


def commands_in(output: str) -> list[str]:
    """The commands that `graft verify` printed."""
    return [line.strip() for line in output.splitlines() if line.startswith("    ")]


def repair(clone: Clone, output: str) -> None:
    """Run what `graft verify` printed, as it stands, and verify again."""
    for command in commands_in(output):
        clone.run("sh", "-c", command)
    assert CLEAN in clone.run("graft", "verify")


def leftovers(clone: Clone) -> list[str]:
    """Temporary files anywhere: workspace, reports, DVC's cache, store."""
    places = [clone.folder, Path(clone.environment["GRAFT_STORE"])]
    found = [path for place in places for path in place.rglob("*") if path.name.endswith((".tmp", ".part", ".damaged"))]
    return [str(path) for path in found if ".git" not in path.parts and "btime" not in path.name]


def running(clone: Clone) -> list[str]:
    """MLflow's runs that are said to go on."""
    database = clone.folder / "mlflow.db"
    if not database.exists():
        return []
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("select name from runs where status = 'RUNNING'")]


def check_nothing_lost(clone: Clone, expected: dict[str, str]) -> None:
    """Compare the bytes with a clean run's; nothing half-done may be left."""
    assert clone.digests() == expected
    assert leftovers(clone) == []
    assert running(clone) == []
