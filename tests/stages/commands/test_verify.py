"""graft verify: damage of every kind is found, and the commands it prints bring everything back."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.graft.storage.files import _host
from tests.support.clones import IDENTITY, Clone
from tests.support.commands import graft
from tests.support.faults import CLEAN, commands_in, fault, leftovers, repair

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def clone(made_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = made_clone.copy(tmp_path_factory.mktemp("verify"))
    clone.run("dvc", "config", "cache.type", "hardlink")  # the workspace's file is the cache's: damage hits both
    clone.run("dvc", "checkout", "--relink")
    for command in (["add", "--all"], [*IDENTITY, "commit", "--quiet", "--message", "made"]):
        clone.run("git", *command)
    return clone


def flip(path: Path) -> None:
    """Change one bit, in the middle; the size and the time stay, as when a disk does it."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def first(folder: Path, pattern: str) -> Path:
    return sorted(path for path in folder.glob(pattern) if path.is_file())[0]


def cached(clone: Clone, path: str) -> Path:
    """The object in DVC's cache that a file of the workspace is linked to."""
    inode = (clone.folder / path).stat().st_ino
    return next(one for one in (clone.folder / ".dvc/cache/files/md5").glob("*/*") if one.stat().st_ino == inode)


def unlink_from_cache(path: Path) -> Path:
    """Make a file of the workspace the workspace's own."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def store_file(clone: Clone, pattern: str) -> Path:
    return first(Path(clone.environment["GRAFT_STORE"]), pattern)


def an_object_alone(clone: Clone) -> Path:
    found = cached(clone, "data/manifest.csv")
    unlink_from_cache(clone.folder / "data/manifest.csv")
    return found


ALWAYS: dict[str, Callable[[Clone], Path]] = {
    "an image and its object in the cache": lambda c: first(c.folder / "data/images", "*"),
    "a fragment of the store": lambda c: store_file(c, "[0-9a-f]*/*.safetensors"),
    "the weights": lambda c: c.folder / "data/backbones/regnet_x_400mf.safetensors",
}
MORE: dict[str, Callable[[Clone], Path]] = {
    "the head": lambda c: first(c.folder / "data/head", "*.safetensors"),
    "a table": lambda c: c.folder / "data/splits.csv",
    "an image alone": lambda c: unlink_from_cache(first(c.folder / "data/images", "*")),
    "an object alone": an_object_alone,
    "a folder's list in the cache": lambda c: first(c.folder / ".dvc/cache/files/md5", "*/*.dir"),
    "a fingerprint": lambda c: store_file(c, "[0-9a-f]*/fingerprint.json"),
    "a converted network": lambda c: store_file(c, "networks/*/network.bin"),
    "a converted network's graph": lambda c: store_file(c, "networks/*/network.xml"),
    "a report": lambda c: c.folder / "reports/metrics.json",
    "code": lambda c: c.folder / "stages/graft/heads/head.py",
}
CASES = [*ALWAYS, *(pytest.param(what, marks=pytest.mark.faults) for what in MORE)]


@pytest.mark.parametrize("what", CASES)
def test_a_flipped_bit_is_found_and_the_commands_repair_it(clone: Clone, what: str):
    before = clone.digests()
    path = (ALWAYS | MORE)[what](clone)
    with fault():
        flip(path)
        output = clone.run("graft", "verify", code=1)
        assert path.name in output, output
        repair(clone, output)
        assert clone.digests() == before
    if "network" in what:  # the next run that needs it makes it again
        clone.run("dvc", "repro", "--force", "--single-item", "extract")
        assert store_file(clone, f"networks/*/{path.name}").exists()
        assert clone.digests() == before


@pytest.mark.faults
@pytest.mark.parametrize("place", ["data/manifest.csv", "data/head", "data/images", ".dvc/cache", "reports/split.json"])
def test_what_is_missing_is_found_and_brought_back(clone: Clone, place: str):
    before = clone.digests()
    path = clone.folder / place
    with fault():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        output = clone.run("graft", "verify", code=1)
        assert "is not there" in output
        assert len(commands_in(output)) < 30
        repair(clone, output)
        assert clone.digests() == before


@pytest.mark.faults
def test_a_file_that_does_not_belong_there_is_named(clone: Clone):
    (clone.folder / "data/images/mine.jpg").write_bytes(b"mine")
    output = clone.run("graft", "verify", code=1)
    assert "data/images/mine.jpg does not belong there" in output
    repair(clone, output)


@pytest.mark.faults
def test_new_code_is_named_and_kept(clone: Clone):
    path = clone.folder / "stages/graft/core/mine.py"
    path.write_text("x = 1\n", encoding="utf-8")
    output = clone.run("graft", "verify", code=1)
    assert "stages/graft/core/mine.py is new, and not in dvc.lock\nif that is meant:\n    dvc repro\n" in output
    path.unlink()
    assert "every byte is as" in clone.run("graft", "verify")


LOCKS = {
    "cut short": lambda good: good[: len(good) // 2] + "\n  : [",
    "empty": lambda good: "",
    "in conflict": lambda good: "<<<<<<< HEAD\n" + good,
    "missing": lambda good: None,
}


@pytest.mark.faults
@pytest.mark.parametrize("how", LOCKS)
def test_a_lock_that_cannot_be_read_comes_back_from_git(clone: Clone, how: str):
    lock = clone.folder / "dvc.lock"
    good = lock.read_text()
    with fault():
        bad = LOCKS[how](good)
        lock.unlink()
        if bad is not None:
            lock.write_text(bad)
        repair(clone, clone.run("graft", "verify", code=1))
        assert lock.read_text() == good


def test_without_any_lock_there_is_one_line(project: Callable[..., Path]):
    project()
    with pytest.raises(SystemExit, match="`dvc repro` makes it"):
        graft("verify")


@pytest.mark.faults
@pytest.mark.parametrize("content", ["", '{"a": '], ids=["empty", "cut off"])
def test_a_half_written_file_of_dvc_is_named(clone: Clone, content: str):
    with fault():
        (clone.folder / ".dvc/tmp/rwlock").write_text(content)
        assert "rwlock" in clone.run("dvc", "repro", code=255)
        (clone.folder / ".git/index.lock").write_text("")
        repair(clone, clone.run("graft", "verify", code=1))
        clone.repro()


@pytest.mark.faults
def test_what_a_killed_process_left_is_named(clone: Clone):
    with fault():
        (clone.folder / f"data/.head.{_host()}-999999999@1-00000000.tmp").mkdir()
        (clone.folder / ".dvc/cache/files/md5/.DQiW31lX-luDzCdIUi3IcQ.tmp").touch()  # DVC's, of a folder's list
        output = clone.run("graft", "verify", code=1)
        assert "2 damaged" in output
        repair(clone, output)
        assert leftovers(clone) == []


@pytest.mark.faults
def test_a_pulled_clone_is_whole_and_what_breaks_there_is_pulled_again(clone: Clone, tmp_path: Path):
    clone.run("dvc", "remote", "add", "--default", "shared", str(tmp_path / "remote"))
    clone.run("git", *IDENTITY, "commit", "--quiet", "--all", "--message", "remote")
    clone.run("dvc", "push", "--quiet")
    theirs = Clone.at(tmp_path / "theirs", clone.environment, tmp_path / "their-store")
    subprocess.run(["git", "clone", "--quiet", str(clone.folder), str(theirs.folder)], check=True)
    output = theirs.run("graft", "verify", code=1)
    assert "is not there" in output
    theirs.run("dvc", "pull", "--quiet")
    assert CLEAN in theirs.run("graft", "verify")
    flip(first(theirs.folder / "data/images", "*"))
    output = theirs.run("graft", "verify", code=1)
    assert any(command.startswith("dvc pull") for command in commands_in(output))
    repair(theirs, output)
    assert theirs.digests() == clone.digests()
