"""What one process holds, another may not remove; a dead one holds nothing."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.graft.storage.locks import exclusive_lock, shared_lock, try_exclusive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no shared locks")

SHARED, EXCLUSIVE = "shared_lock(path, shared_lock)", "lock = exclusive_lock(path); lock.__enter__()"

HOLDER = """
import sys
from pathlib import Path
from stages.graft.storage.locks import exclusive_lock, shared_lock
path = Path(sys.argv[1])
{lock}
print("held", flush=True)
input()
"""


@contextmanager
def another_process(lock: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock until it is killed."""
    command = [sys.executable, "-c", HOLDER.format(lock=lock), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield holder
        finally:
            holder.kill()


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
    with another_process(SHARED, tmp_path / "a"), try_exclusive(tmp_path / "a") as free:
        assert not free
    with try_exclusive(tmp_path / "a") as free:
        assert free


def test_a_process_that_comes_during_a_removal_waits_and_has_a_valid_lock(tmp_path: Path):
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


def test_one_process_makes_the_folder_and_the_others_find_it(tmp_path: Path):
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


def test_a_waiting_process_says_so_and_continues_when_the_other_is_killed(tmp_path: Path, capsys):
    with another_process(EXCLUSIVE, tmp_path / "a") as holder:
        killer = threading.Timer(0.3, holder.kill)
        killer.start()
        with exclusive_lock(tmp_path / "a", "another process is at a; waiting for it", seconds=30):
            assert holder.wait(timeout=10) != 0
        killer.join()
    assert capsys.readouterr().err == "another process is at a; waiting for it\n"


def test_waiting_too_long_is_an_error(tmp_path: Path, capsys):
    lock = exclusive_lock(tmp_path / "a", "waiting", seconds=0.1)
    with another_process(EXCLUSIVE, tmp_path / "a"), pytest.raises(TimeoutError, match=r"a\.making\.lock"), lock:
        pass
    assert capsys.readouterr().err == "waiting\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOLCK, errno.ENOSYS])
def test_in_read_only_folders_and_on_disks_without_locks_work_goes_on(tmp_path: Path, monkeypatch, capsys, number):
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock" if number in (errno.ENOLCK, errno.ENOSYS) else "os.open", refuse)
    with exclusive_lock(tmp_path / "a", "waiting"):
        shared_lock(tmp_path / "a", threading.Event())
        with try_exclusive(tmp_path / "a") as free:
            assert not free
    assert capsys.readouterr().err == ""
