"""Killed at any moment, out of disk, four at once, two in one clone: afterwards all is as if nothing had happened."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.clones import Clone
from tests.support.faults import check_nothing_lost, commands_in, fault, killed, leftovers
from tests.support.imports import STAGES
from tests.support.packed import packed_images

pytestmark = pytest.mark.filterwarnings("default")

MOMENTS = ("start", "half:1", "whole:1", "half:2", "whole:3", "end")


@pytest.fixture(scope="module")
def clone(made_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return committed(made_clone.copy(tmp_path_factory.mktemp("faults")))


@pytest.fixture(scope="module")
def training(made_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose head and network are trained, epoch by epoch, watched in MLflow."""
    clone = made_clone.copy(tmp_path_factory.mktemp("training"))
    clone.set_params("train_head", kind="mlp")
    clone.set_params("finetune", strategy="partial", epochs=2, views=2)
    clone.repro()
    return committed(clone)


def committed(clone: Clone) -> Clone:
    clone.run("git", "add", "--all")
    clone.run("git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "made")
    return clone


def forget(clone: Clone, *stages: str) -> None:
    """Let DVC run stages as if for the first time, instead of restoring what they once made."""
    shutil.rmtree(clone.folder / ".dvc/cache/runs", ignore_errors=True)
    lock = clone.folder / "dvc.lock"
    record = yaml.safe_load(lock.read_text())
    record["stages"] = {name: entry for name, entry in record["stages"].items() if name not in stages}
    lock.write_text(yaml.safe_dump(record, sort_keys=False))


def test_one_kill(clone: Clone):
    before = clone.digests()
    with fault():
        forget(clone, "split")
        killed(clone, "split:half:1", "dvc", "repro", "--single-item", "split")
        clone.repro()
        check_nothing_lost(clone, before)


@pytest.mark.faults
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stage", [*STAGES])
def test_a_stage_is_killed(clone: Clone, stage: str, moment: str):
    before = clone.digests()
    with fault():
        forget(clone, stage)
        if stage == "extract" and moment != "end":
            shutil.rmtree(clone.environment["GRAFT_STORE"])  # rows and the converted network are made again
        killed(clone, f"{stage}:{moment}", "dvc", "repro", "--single-item", stage)
        clone.repro()
        check_nothing_lost(clone, before)


@pytest.mark.faults
@pytest.mark.parametrize("moment", [f"{how}:{number}" for number in range(1, 6) for how in ("half", "whole")])
@pytest.mark.parametrize("stage", ["train_head", "finetune"])
def test_a_training_is_killed(training: Clone, stage: str, moment: str):
    before = training.digests()
    with fault():
        forget(training, stage)
        shutil.rmtree(Path(training.environment["GRAFT_STORE"]) / "activations", ignore_errors=True)
        killed(training, f"{stage}:{moment}", "dvc", "repro", "--single-item", stage)
        training.repro()
        check_nothing_lost(training, before)
        assert not list((Path(training.environment["GRAFT_STORE"]) / "finetuning").glob("*.safetensors"))


@pytest.mark.faults
@pytest.mark.parametrize("number", [1, 2, 5, 20, 60, 120])
def test_dvc_is_killed_between_the_stages(clone: Clone, number: int):
    """While it moves what stages made to its cache, and links it back: its own temporary files `graft verify` names."""
    before = clone.digests()
    with fault():
        forget(clone, *STAGES)
        shutil.rmtree(clone.folder / ".dvc/cache")  # else it has it all, and nothing is moved
        killed(clone, f"dvc:whole:{number}", "dvc", "repro")
        repair_dvc(clone)
        clone.repro()
        check_nothing_lost(clone, before)


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [1.5, 3.0, 4.5, 6.0, 8.0, 10.0, 12.0, 14.0])
def test_everything_is_killed_at_any_time(clone: Clone, seconds: float):
    before = clone.digests()
    with fault():
        forget(clone, *STAGES)
        command = ["dvc", "repro"]
        process = subprocess.Popen(
            command, cwd=clone.folder, env=clone.environment, start_new_session=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        repair_dvc(clone)
        clone.repro()
        check_nothing_lost(clone, before)


@pytest.mark.faults
def test_four_writers_at_once_on_one_store(clone: Clone, tmp_path: Path):
    """Cold, so that all four convert the network and compute every row."""
    before = clone.digests()
    with fault():
        store = tmp_path / "store"
        folders = [tmp_path / str(number) for number in range(4)]
        for folder in folders:
            shutil.copytree(clone.folder, folder, symlinks=True)
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "stages.extract"],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=clone.environment | {"GRAFT_STORE": str(store), "PYTHONPATH": str(folder)},
                text=True,
            )
            for folder in folders
        ]
        printed = [writer.communicate(timeout=300)[0] for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * 4, printed
        for folder in folders:
            one = Clone.at(folder, clone.environment, store)
            check_nothing_lost(one, before)
        assert len(list(store.glob("networks/[0-9a-f]*"))) == 1
        assert sum("converting" in output for output in printed) == 1
        one.run("graft", "verify")
    assert leftovers(one) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        done = 1
    if done:
        pytest.skip("this machine mounts nothing")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def filled(place: Path, free: int) -> Iterator[None]:
    """Leave so many bytes free on a disk."""
    filler = place / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(shutil.disk_usage(place).free - free, 4096))
    yield
    filler.unlink()


NOBODY = 65534

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root as any other user: what belongs to others is closed."""


def errors_of(clone: Clone, *command: str) -> list[str]:
    """The errors that a command prints, DVC's last one left out; none when it does its work."""
    done = subprocess.run(
        [*WITHOUT_RIGHTS, *command], cwd=clone.folder, env=clone.environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert bool(lines) == bool(done.returncode), done.stderr
    return lines


@pytest.mark.faults
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can make a store of another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["that can be read", "that cannot be read"])
@pytest.mark.parametrize("is_cold", [True, False], ids=["an empty store", "a full store"])
def test_the_store_is_another_users(clone: Clone, tmp_path: Path, mode: int, is_cold: bool):
    store, before = tmp_path / "store", clone.digests()
    if is_cold:
        store.mkdir()
    else:
        shutil.copytree(clone.environment["GRAFT_STORE"], store)
    for path in (store, *store.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    store.chmod(mode)
    other, images = Clone.at(clone.folder, clone.environment, store), tmp_path / "images"
    images.mkdir()
    for name, data in packed_images(clone.folder / "data/images").items():
        (images / name).write_bytes(data)
    with fault():
        forget(clone, "extract", "finetune", "evaluate")
        for command in (["graft", "repro"], ["graft", "store"], ["graft", "predict", str(images)]):
            errors = errors_of(other, *command)
            assert len(errors) <= 1, errors
            assert all(f"error: the store {store} cannot be" in line for line in errors), errors
            assert errors or not (is_cold and command[1] == "repro")
        clone.run("graft", "repro")
        check_nothing_lost(clone, before)


FULL = ("the disk is full", "No space left", "cannot be written", "Unable to read RWLock-file")
"""What tells of a full disk; the last is DVC, which has cut off its own list of locks and names it."""


def check_one_line(output: str) -> None:
    """A full disk is said in one line, DVC's or ours, without a traceback."""
    assert any(words in line for line in output.splitlines() for words in FULL), output
    assert "Traceback" not in output or "dulwich" in output  # DVC's git, as it ends: it cannot close a file


@pytest.mark.faults
@pytest.mark.parametrize("stage", STAGES)
def test_the_disk_is_full_while_an_out_or_a_report_is_written(made_clone: Clone, small_disk: Path, stage: str):
    clone = committed(made_clone.copy(small_disk / "work"))
    before = clone.digests()
    for free in (0, 12_000, 100_000):
        with fault():
            with filled(small_disk, free):
                done = subprocess.run(
                    [sys.executable, "-m", f"stages.{stage}"], cwd=clone.folder, env=clone.environment,
                    capture_output=True, text=True,
                )  # fmt: skip
                if done.returncode:
                    check_one_line(done.stderr)
                assert leftovers(clone) == []
            forget(clone, stage)
            with filled(small_disk, free):
                output = run_to_any_end(clone, "dvc", "repro", "--single-item", stage)
                if "ERROR" in output and "index.lock" not in output:  # of the time before, which is named below
                    check_one_line(output)
            repair_dvc(clone)
            clone.repro()
            check_nothing_lost(clone, before)


def repair_dvc(clone: Clone) -> None:
    """DVC writes its notes in place, and leaves temporary files when it fails: `graft verify` says what to do.

    With DVC's notes damaged it says that alone, and asks to be run again.
    """
    for _ in range(3):
        for command in commands_in(run_to_any_end(clone, "graft", "verify")):
            if any(word in command for word in ("rwlock", "dvc.lock", ".tmp", "index.lock")):
                clone.run("sh", "-c", command)


def run_to_any_end(clone: Clone, *command: str) -> str:
    done = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.faults
@pytest.mark.parametrize("free", [0, 100_000, 4_000_000])
def test_the_disk_is_full_while_the_store_is_written(clone: Clone, small_disk: Path, free: int):
    """The most is too little for the converted network."""
    before = clone.digests()
    with fault():
        one = Clone.at(clone.folder, clone.environment, small_disk / "store")
        forget(one, "extract")
        with filled(small_disk, free):
            output = run_to_any_end(one, "dvc", "repro", "--single-item", "extract")
            check_one_line(output)
            assert leftovers(one) == []
        one.repro()
        check_nothing_lost(one, before)


@pytest.mark.faults
def test_the_disk_is_full_while_mlflow_writes(made_clone: Clone, small_disk: Path):
    """What it missed is published later; a database that is cut off must not stay in the way."""
    clone = committed(made_clone.copy(small_disk / "work"))
    before = clone.digests()
    for free in (0, 30_000, 300_000):
        (clone.folder / "mlflow.db").unlink()
        with fault():
            with filled(small_disk, free):
                output = run_to_any_end(clone, "graft", "publish")
                assert "Traceback" not in output
                assert len(output.splitlines()) < 6, output
            assert "published" in clone.run("graft", "publish")
            check_nothing_lost(clone, before)


@pytest.mark.faults
@pytest.mark.parametrize("stage", ["train_head", "finetune"])
def test_the_disk_is_full_while_a_training_shows_itself_in_mlflow(training: Clone, small_disk: Path, stage: str):
    clone = training.copy(small_disk / "work")
    before = clone.digests()
    for free in (0, 30_000, 300_000):
        with fault():
            forget(clone, stage)
            shutil.rmtree(small_disk / "work/store/activations", ignore_errors=True)
            with filled(small_disk, free):
                output = run_to_any_end(clone, "dvc", "repro", "--single-item", stage)
                if "ERROR" in output:
                    check_one_line(output)
            repair_dvc(clone)
            clone.repro()
            check_nothing_lost(clone, before)


@pytest.mark.faults
def test_a_second_repro_in_one_clone_waits(clone: Clone):
    before = clone.digests()
    with fault():
        forget(clone, *STAGES)
        both = [started(clone, "graft", "repro") for _ in range(2)]
        printed = [process.communicate(timeout=600)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], printed
        assert sum("waiting for it" in output for output in printed) == 1
        check_nothing_lost(clone, before)


@pytest.mark.faults
def test_without_waiting_one_is_told_why_and_the_other_goes_on(clone: Clone):
    """DVC locks what a stage reads and writes while it looks and while it runs: either may come first."""
    before = clone.digests()
    with fault():
        forget(clone, *STAGES)
        first = started(clone, "dvc", "repro")
        wait_for(lambda: (clone.folder / ".dvc/tmp/rwlock").exists() and "pid" in rwlock(clone))
        second = started(clone, "dvc", "repro")
        printed = [process.communicate(timeout=600)[0] for process in (first, second)]
        refused = [said for said, process in zip(printed, (first, second), strict=True) if process.returncode]
        assert len(refused) == 1, printed
        assert "lock" in refused[0] or "busy" in refused[0], refused
        clone.repro()
        check_nothing_lost(clone, before)


def rwlock(clone: Clone) -> str:
    return (clone.folder / ".dvc/tmp/rwlock").read_text()


def started(clone: Clone, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, cwd=clone.folder, env=clone.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
