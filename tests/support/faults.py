"""Faults on purpose, and the count of them that the test run prints in the end."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

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


def killed(clone: Clone, where: str, *command: str, number: int = signal.SIGKILL) -> str:
    """Run a command that gets a signal, with all it started, where `sitecustomize` is told; gives what it printed."""
    environment = clone.environment | {"FAULT": where, "FAULT_SIGNAL": str(int(number))}
    environment["PYTHONPATH"] = f"{REPOSITORY / 'tests/support/faulty'}{os.pathsep}{environment['PYTHONPATH']}"
    with subprocess.Popen(
        command, cwd=clone.folder, env=environment, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        output, _ = process.communicate(timeout=300)
    ended = process.returncode == -signal.SIGKILL if number == signal.SIGKILL else process.returncode != 0
    assert ended, f"{where}: it was not killed\n{output}"
    assert "Traceback" not in output or number == signal.SIGTERM, output  # DVC has no answer to SIGTERM
    return output


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
