import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from stages.graft.core.errors import DataError
from stages.graft.maintenance import verification
from stages.graft.maintenance.dvc_lock import lock_problem, read_lock_entries
from stages.graft.maintenance.verification import check_dvc, repair_dvc


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where DVC lists the commands that run."""
    monkeypatch.setattr(verification, "SECONDS_TO_WRITE", 0.3)
    path = tmp_path / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("content", ["", '{"read": '], ids=["empty", "cut off"])
def test_a_list_of_locks_that_a_killed_dvc_left_is_named_with_what_to_do(locks: Path, content: str):
    """DVC refuses both, and starts nothing."""
    locks.write_text(content)
    damage = next(check_dvc(locks.parents[2]))
    assert "rwlock is half-written" in damage.message
    assert damage.commands == (f"rm -f {locks}",)


def test_a_list_of_locks_that_dvc_is_writing_now_is_no_damage(locks: Path):
    locks.write_text("")
    writer = threading.Timer(0.1, locks.write_text, ["{}"])
    writer.start()
    with pytest.raises(DataError, match=r"dvc\.lock"):  # the next thing it looks at
        next(check_dvc(locks.parents[2]))
    writer.join()


LOCK = """schema: '2.0'
stages:
  a:
    cmd: one
    outs:
    - path: x
      hash: md5
      md5: 83d6a82ddfa2fe0d9df062f595c0d502
      size: 1
  b:
    cmd: two
    deps:
    - path: x
      md5: 83d6a82ddfa2fe0d9df062f595c0d502
    outs:
    - path: y
      md5: 93d6a82ddfa2fe0d9df062f595c0d502.dir
"""


def test_a_lock_cut_anywhere_is_named_or_harmless_and_mended(tmp_path: Path):
    """DVC writes it in place: a full disk cuts it at any byte."""
    path = tmp_path / "dvc.lock"
    for length in range(len(LOCK)):
        path.write_text(LOCK[:length])
        problem = lock_problem(tmp_path)
        done = list(repair_dvc(tmp_path))
        assert bool(done) == (problem is not None), length
        assert not path.exists() or lock_problem(tmp_path) is None
        if length > LOCK.index("  b:"):
            assert {entry.stage for entry in read_lock_entries(tmp_path)} >= {"a"}


def test_a_lock_that_is_whole_or_in_conflict_is_left_as_it_is(tmp_path: Path):
    for text in (LOCK, "<<<<<<< HEAD\n" + LOCK):
        (tmp_path / "dvc.lock").write_text(text)
        assert list(repair_dvc(tmp_path)) == []
        assert (tmp_path / "dvc.lock").read_text() == text


@pytest.mark.parametrize("content", ["", '{"read": ', "[]", '{"write": []}'])
def test_a_half_written_list_of_locks_is_removed_before_dvc_starts(locks: Path, content: str):
    locks.write_text(content)
    (line,) = repair_dvc(locks.parents[2])
    assert "rwlock was left half-written" in line
    assert not locks.exists()
    locks.write_text('{"write": {}, "read": {}}')
    assert list(repair_dvc(locks.parents[2])) == []


def test_a_killed_command_that_is_still_listed_blocks_nothing(locks: Path):
    tmp_path = locks.parents[2]
    with subprocess.Popen(["sleep", "60"]) as process:
        me, killed = ({"pid": pid, "cmd": "dvc"} for pid in (os.getpid(), process.pid))
        for users in ({"write": {"a": killed}, "read": {"b": [killed, me]}}, {"write": {}}, {"write": {"a": 1}}):
            locks.write_text(json.dumps(users))
            assert list(repair_dvc(tmp_path)) == []
            assert locks.exists()
        locks.write_text(json.dumps({"write": {"a": killed}, "read": {"b": [killed]}}))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended; its parent has not asked how
        assert list(repair_dvc(tmp_path)) == []
        assert not locks.exists()
