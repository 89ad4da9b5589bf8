"""How long commands take and how much memory they need, measured from outside, as a user meets them."""

import copy
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.graft.core.errors import GraftError

_PEAK = """
import re, runpy, sys
runpy.run_module(sys.argv[1], run_name="__main__")
# Not getrusage: its maximum is inherited from the process that started this one.
print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
_MODULES = "import runpy, sys; runpy.run_module(sys.argv[1], run_name='__main__'); print('modules', *sys.modules)"
_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        pass
"""

NUM_TURNS = 15
"""Of what is compared to a few hundredths."""


class Workplace:
    """A folder in which the pipeline's commands run, with its own parameters and store."""

    def __init__(self, folder: Path, repository: Path, source: Path) -> None:
        """Clone the repository as committed, its images from `source`."""
        self.folder = folder
        self.environment = os.environ | {
            "GRAFT_STORE": str(folder.parent / f"{folder.name}-store"),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONPATH": str(folder),
        }
        self._run("git", "clone", "--quiet", str(repository), str(folder), cwd=repository)
        self.set_params({"ingest": {"source": str(source)}})

    def set_params(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change parameters."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        for section, values in changes.items():
            params[section].update(values)
        path.write_text(yaml.safe_dump(params), encoding="utf-8")

    def seconds(self, *command: str, repeats: int = 1, cwd: Path | None = None) -> float:
        """Time a command, here or in another folder; of several runs, the shortest."""
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self._run(*command, cwd=cwd)
            times.append(time.perf_counter() - start)
        return min(times)

    def stage_seconds(self, stage: str, repeats: int = 1) -> float:
        """Time a stage's script alone, without DVC."""
        return self.seconds(sys.executable, "-m", f"stages.{stage}", repeats=repeats)

    def import_seconds(self, stage: str, repeats: int = 3) -> float:
        """Time the import of every module that a stage's script has loaded when it ends, and nothing else."""
        names = [name for name in self.loaded_modules(stage) if not name.startswith("_") and name != "runpy"]
        return self.seconds(sys.executable, "-c", _IMPORT, *names, repeats=repeats)

    def loaded_modules(self, stage: str) -> list[str]:
        """Run a stage's script and name the modules it has loaded when it ends."""
        return self._last_line(_MODULES, stage, "modules")

    def peak_megabytes(self, stage: str) -> float:
        """Run a stage's script and give the most memory it held, in MB; on Linux alone."""
        return int(self._last_line(_PEAK, stage, "peak")[0]) / 1024

    def _last_line(self, script: str, stage: str, title: str) -> list[str]:
        line = self._run(sys.executable, "-c", script, f"stages.{stage}").splitlines()[-1]
        words = line.split()
        if words[0] != title:
            raise GraftError(f"bench: stages.{stage} printed {line!r} last")
        return words[1:]

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise GraftError(f"bench: {' '.join(command)[:100]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout


def idle_repro(workplace: Workplace, scratch: Path) -> list[tuple[float, float, float]]:
    """Time `dvc repro` with nothing to do: here, in six `cp` stages, and in those as `dvc init` leaves them.

    DVC then reports its use; here these reports go nowhere.

    Args:
        workplace: its pipeline has run.
        scratch: an empty folder.
    Returns:
        Seconds of the three, NUM_TURNS times.
    """
    (scratch / "out0").write_text("content\n", encoding="utf-8")
    stages = {
        f"copy{k}": {"cmd": f"cp out{k} out{k + 1}", "deps": [f"out{k}"], "outs": [f"out{k + 1}"]} for k in range(6)
    }
    (scratch / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "repro", "--quiet"]):
        workplace.seconds(*command, cwd=scratch)
    reporting = copy.copy(workplace)
    reporting.environment = {**workplace.environment, "DVC_ANALYTICS_ENDPOINT": "http://127.0.0.1:9"}
    del reporting.environment["DVC_NO_ANALYTICS"]
    return [
        (
            workplace.seconds("dvc", "repro"),
            workplace.seconds("dvc", "repro", cwd=scratch),
            reporting.seconds("dvc", "repro", cwd=scratch),
        )
        for _ in range(NUM_TURNS)
    ]
