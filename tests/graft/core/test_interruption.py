"""Ctrl-C at any moment: one line and exit code 130, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

INTERRUPT = "import os, signal, time\n"
HOW = {
    "while a library is imported": "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)",
    "and the library hides it": "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(9)\n"
    "except BaseException:\n    raise ImportError('broken')",
}


def run(tmp_path: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    return subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("how", HOW)
def test_a_stage_is_interrupted_before_its_work_begins(tmp_path: Path, how: str):
    (tmp_path / "pandas.py").write_text(INTERRUPT + HOW[how])
    done = run(tmp_path, "-m", "stages.split")
    assert done.returncode == 130
    assert done.stderr == "\nsplit: interrupted; nothing half-written is left, `dvc repro` goes on from here\n"


@pytest.mark.parametrize("how", HOW)
def test_a_command_is_interrupted_while_it_imports(tmp_path: Path, how: str):
    (tmp_path / "late.py").write_text(INTERRUPT + HOW[how])
    code = (
        "from stages.graft.core.stage import run\ndef main():\n    import late\nrun('graft x', main, again='graft x')"
    )
    done = run(tmp_path, "-c", code)
    assert done.returncode == 130
    assert done.stderr == "\ngraft x: interrupted; nothing half-written is left, `graft x` goes on from here\n"


def test_an_interruption_that_is_ignored_stays_ignored(tmp_path: Path):
    code = "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom stages.graft.core.stage import run\n"
    code += "def main():\n    os.kill(os.getpid(), signal.SIGINT)\n    print('done')\nrun('graft x', main)"
    done = run(tmp_path, "-c", code)
    assert (done.returncode, done.stdout) == (0, "done\n")
