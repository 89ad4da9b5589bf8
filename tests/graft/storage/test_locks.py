"""What one process holds, another may not remove; a dead one holds nothing."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stages.graft.storage.locks import exclusive_lock, shared_lock, try_exclusive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")

HOLDER = """
import sys
from pathlib import Path
from stages.graft.storage.locks import shared_lock
shared_lock(Path(sys.argv[1]), shared_lock)
print("held", flush=True)
input()
"""


def test_a_held_folder_is_not_to_be_removed_until_its_holder_is_gone(tmp_path: Path):
    class Holder:
        pass

    first, second = Holder(), Holder()
    shared_lock(tmp_path / "a", first)
    shared_lock(tmp_path / "a", second)  # any number at once
    with try_exclusive(tmp_path / "a") as free:
        assert not free
    with try_exclusive(tmp_path / "b") as free:
        assert free
    del first
    with try_exclusive(tmp_path / "a") as free:
        assert not free
    del second
    with try_exclusive(tmp_path / "a") as free:
        assert free
    assert list(tmp_path.iterdir()) == []  # no lock file stays for what is gone


def test_a_killed_process_holds_nothing(tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with try_exclusive(tmp_path / "a") as free:
            assert not free
        holder.kill()
        holder.wait()
    with try_exclusive(tmp_path / "a") as free:
        assert free


def test_who_comes_while_another_removes_waits_and_then_holds_a_lock_that_counts(tmp_path: Path):
    class Holder:
        pass

    holder, come = Holder(), threading.Event()

    def arrive() -> None:
        come.set()
        shared_lock(tmp_path / "a", holder)

    with try_exclusive(tmp_path / "a") as free:
        assert free
        arriving = threading.Thread(target=arrive)
        arriving.start()
        come.wait()
    arriving.join(timeout=10)
    assert not arriving.is_alive()
    with try_exclusive(tmp_path / "a") as free:
        assert not free


def test_one_makes_and_the_others_find_it_made(tmp_path: Path):
    made: list[int] = []

    def make() -> None:
        with exclusive_lock(tmp_path / "a"):
            if not (tmp_path / "a").exists():
                made.append(1)
                (tmp_path / "a").mkdir()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
