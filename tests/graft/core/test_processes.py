"""Who still runs, and who has ended, however it ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.graft.core.processes import is_gone, this_process


def test_this_process_is_not_gone_and_an_ended_one_is():
    assert not is_gone(this_process())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(f"{ended.pid}@1")
    assert not is_gone("")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only there processes of one number can be told apart")
def test_a_later_process_with_the_same_number_is_another():
    assert is_gone(f"{os.getpid()}@1")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only there processes of one number can be told apart")
def test_a_killed_process_that_no_process_has_waited_for_is_gone():
    code = "from stages.graft.core.processes import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        name = one.stdout.readline().strip()
        assert not is_gone(name)
        one.kill()
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
        assert is_gone(name)
