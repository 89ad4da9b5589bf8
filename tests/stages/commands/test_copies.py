"""Stages in copies of the process that waits: the same output, ends and signals as in processes of their own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux only")

WAIT = """
import os, subprocess, sys
from stages.commands import copies
with copies.offered() as asked:
    command = [sys.executable, "-m", "stages.probe", "one", "two"]
    process = subprocess.Popen(command, env=os.environ | {"DVC_STAGE": "probe"})
    print("the stage", process.pid, flush=True)
    code = copies.wait_and_copy(process, asked)
print("ended with", code)
"""

PROBE = """
import atexit, os, sys, threading, time
from stages.graft.core.stage import run

def main():
    place = "a copy" if "stages.commands.copies" in sys.modules else "its own process"
    print("in", place, os.getpid(), sys.argv[1:], os.environ.get("DVC_STAGE"), flush=True)
    WORK

if __name__ == "__main__":
    run("probe", main)
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that waits for a stage which does this work."""
    shutil.copytree(REPOSITORY / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__", "graft"))
    (tmp_path / "stages/graft").symlink_to(REPOSITORY / "stages/graft")

    @contextmanager
    def started(work, wait=WAIT):
        (tmp_path / "stages/probe.py").write_text(PROBE.replace("WORK", work))
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-c", wait], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    return started


def said_by(process):
    return process.communicate(timeout=60)[0]


def pids(process):
    """Of the stage, and of what does its work, once it works."""
    stage = int(process.stdout.readline().split()[-1])
    words = process.stdout.readline().split()
    assert words[:3] == ["in", "a", "copy"]
    return stage, int(words[3])


@pytest.mark.parametrize(
    ("work", "code", "last"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('probe: error: what is wrong')", 1, "probe: error: what is wrong"),
        ("raise ValueError('a bug')", 1, "ValueError: a bug"),
        ("atexit.register(print, 'at the end')", 0, "at the end"),
        ("threading.Thread(target=lambda: (time.sleep(0.2), print('a thread'))).start()", 0, "a thread"),
        ("print(sys.__stdin__.fileno(), os.getcwd() == sys.modules['stages'].__path__[0][:-7])", 0, "0 True"),
    ],
)
def test_a_copy_ends_as_the_stage_would(start, work, code, last):
    with start(work) as process:
        lines = said_by(process).splitlines()
    assert lines[1].startswith("in a copy")
    assert lines[1].endswith("['one', 'two'] probe")
    assert lines[-1] == f"ended with {code}"
    assert lines[-2] == last or not last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["stage", "all"])
def test_an_interruption_reaches_the_copy_once(start, number, to):
    deaf = "import signal\nfor number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda *_: None)\n"
    with start("time.sleep(60)", deaf + WAIT) as process:
        stage, copy = pids(process)
        to(stage if to == os.kill else process.pid, number)
        said = said_by(process)
    assert said.count("probe: interrupted") == 1
    assert said.endswith("ended with 130\n")
    assert not psutil.pid_exists(copy)


def test_a_killed_stage_takes_its_copy_along(start):
    with start("time.sleep(60)") as process:
        stage, copy = map(psutil.Process, pids(process))
        stage.kill()
        assert said_by(process).endswith(f"ended with {-signal.SIGKILL}\n")
        assert psutil.wait_procs([copy], timeout=30)[1] == []


@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["stage", "all"])
def test_what_a_copy_has_started_ends_with_it(start, to):
    with start("import subprocess; subprocess.run(['sleep', '60'])") as process:
        stage, copy = map(psutil.Process, pids(process))
        while not (started := copy.children()):
            pass
        to(stage.pid if to == os.kill else process.pid, signal.SIGKILL)
        assert psutil.wait_procs([copy, *started], timeout=30)[1] == []


def test_a_stopped_stage_stops_its_copy(start):
    with start("time.sleep(0.5)") as process:
        stage, copy = map(psutil.Process, pids(process))
        for number, states in ((signal.SIGTSTP, {"stopped"}), (signal.SIGCONT, {"sleeping", "running"})):
            stage.send_signal(number)
            end = time.monotonic() + 30
            while not {stage.status(), copy.status()} <= states:
                assert time.monotonic() < end
        assert said_by(process).endswith("ended with 0\n")


def test_a_stage_ends_as_its_killed_copy(start):
    for number in (signal.SIGKILL, signal.SIGSEGV):
        with start("time.sleep(60)") as process:
            os.kill(pids(process)[1], number)
            assert said_by(process).endswith(f"ended with {-number}\n")


def test_the_copy_outlives_the_one_who_waited_as_the_stage_does(start, tmp_path):
    with start("time.sleep(1); open('done', 'w').close()") as process:
        stage, _ = pids(process)
        process.kill()
        psutil.wait_procs([psutil.Process(stage)], timeout=30)
    assert (tmp_path / "done").is_file()


@pytest.mark.parametrize(
    "change",
    ["copies.LOADED -= 1e6", "copies.installation = lambda: []", "os.fork = lambda: open('')", "del os.pidfd_open",
     "copies.tempfile.mkdtemp = lambda prefix: '/no/such/folder'"],
    ids=["changed code", "another Python", "no fork", "an old Linux", "no place"],
)  # fmt: skip
def test_without_a_copy_a_stage_works_itself(start, change):
    with start("pass", WAIT.replace("with copies", f"{change}\nwith copies", 1)) as process:
        said = said_by(process)
    assert "in its own process" in said
    assert said.endswith("ended with 0\n")


def test_a_stage_that_cannot_be_imported_shows_it_itself(start):
    with start("pass\n\nimport no_such_module") as process:
        said = said_by(process)
    assert "No module named 'no_such_module'" in said
    assert said.endswith("ended with 1\n")


def test_stages_in_a_row_leave_no_process_behind(start):
    one, two = '[sys.executable, "-m", "stages.probe", "one", "two"]', 'f"{sys.executable} -m stages.probe;"'
    family = "psutil.Process(os.getppid()).parent().children()"
    zombies = f"import psutil; print([one.status() for one in {family}].count('zombie'))"
    with start(zombies, WAIT.replace(one, f'["sh", "-c", 2 * {two}]')) as process:
        lines = said_by(process).splitlines()
    assert [line.startswith("in a copy") for line in lines[1::2]] == [True, True, False]
    assert lines[2::2] == ["0", "0"]


def test_nothing_is_left(start, tmp_path):
    with start("pass", "import tempfile; tempfile.tempdir = '.'\n" + WAIT) as process:
        assert said_by(process).endswith("ended with 0\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stages"]
