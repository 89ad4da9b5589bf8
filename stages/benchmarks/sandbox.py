"""A folder in which the pipeline's commands run as a user runs them, timed and measured from outside."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from stages.graft.core.errors import GraftError
from stages.graft.core.params import PARAMS, read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
BACKBONES = Path("data/backbones")

_MEASURE = """
import importlib, json, sys, time
from stages.graft.core.stage import peak_memory_mb
module, name, *numbers = sys.argv[1:]
function = getattr(importlib.import_module(module), name)
start = time.perf_counter()
function(*map(int, numbers))
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak_mb": peak_memory_mb(), "modules": list(sys.modules)}))
"""
_IMPORT = """
import contextlib, importlib, sys
for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Time and memory of one call in its own process."""

    seconds: float
    """Duration of the call, without the start of Python and the import of the function's module."""
    peak_mb: float
    """Most memory that the process holds, in MB of 1,000,000 bytes, Python and the libraries included."""
    modules: Sequence[str]
    """Modules that the process has loaded at its end, in the order of their import."""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A folder with its own parameters and its own feature store, and the commands that run in it."""

    folder: Path
    """Working folder of every command."""
    environment: Mapping[str, str]
    """Environment of every command."""

    @classmethod
    def clone(cls, folder: Path) -> "Sandbox":
        """Clone this repository as committed; commands run the code of the clone."""
        sandbox = cls(folder=REPOSITORY, environment=_environment(folder, code=folder))
        sandbox.run("git", "clone", "--quiet", str(REPOSITORY), str(folder))
        return replace(sandbox, folder=folder)

    @classmethod
    def project(cls, folder: Path) -> "Sandbox":
        """Make a folder with the parameters and the backbones of the working folder; commands run this code."""
        (folder / BACKBONES).parent.mkdir(parents=True)
        (folder / BACKBONES).symlink_to(BACKBONES.resolve())
        (folder / PARAMS).write_bytes(PARAMS.read_bytes())
        return cls(folder=folder, environment=_environment(folder, code=REPOSITORY))

    def with_environment(self, **variables: str) -> "Sandbox":
        """Return the same sandbox with other environment variables."""
        return replace(self, environment={**self.environment, **variables})

    def set_params(self, section: str, **values: object) -> None:
        """Change parameters of one section of params.yaml."""
        params = read_yaml(self.folder / PARAMS)
        params[section] |= values
        (self.folder / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")

    def run(self, *command: str) -> str:
        """Run a command and return what it prints on stdout.

        Raises:
            GraftError: the command fails; gives the last line that it prints.
        """
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = [f"{command[0]} ends with exit code {done.returncode}", *done.stdout.splitlines()]
            raise GraftError([line for line in [*lines, *done.stderr.splitlines()] if line.strip()][-1])
        return done.stdout

    def seconds(self, *command: str, repeats: int = 1) -> float:
        """Time a command; of several runs, return the shortest."""
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.run(*command)
            times.append(time.perf_counter() - start)
        return min(times)

    def stage_seconds(self, stage: str, repeats: int = 1) -> float:
        """Time the script of a stage, without DVC."""
        return self.seconds(sys.executable, "-m", f"stages.{stage}", repeats=repeats)

    def measure(self, module: str, function: str, *numbers: int) -> Measured:
        """Call a function with whole numbers in a new process, and measure it; on Linux only."""
        printed = self.run(sys.executable, "-c", _MEASURE, module, function, *map(str, numbers))
        return Measured(**json.loads(printed.splitlines()[-1]))

    def import_seconds(self, stage: str, repeats: int = 3) -> float:
        """Time the import of every module that a stage has loaded at its end, and nothing else."""
        names = [name for name in self.measure(f"stages.{stage}", "main").modules if not name.startswith("_")]
        return self.seconds(sys.executable, "-c", _IMPORT, *names, repeats=repeats)


def _environment(folder: Path, code: Path) -> dict[str, str]:
    return os.environ | {"GRAFT_STORE": f"{folder}-store", "PYTHONPATH": str(code), "DVC_NO_ANALYTICS": "1"}
