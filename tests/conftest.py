"""Fixtures for every test: nothing outside the test's own folder is read or written, and no network is reached."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from filelock import FileLock

if TYPE_CHECKING:
    from tests.support.clones import Clone
    from tests.support.fuzzing import Attack

pytest.register_assert_rewrite("tests.support.faults")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: each worker has one core

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, for the workers to end together; skip tests that need a GPU where there is none."""
    items.sort(key=lambda item: item.path.parent.name != "system")
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _is_here(host: str) -> bool:
    """Tell whether an address is of this machine: a Ray cluster listens on the one that others would use."""
    with socket.socket() as probe, suppress(OSError):
        probe.bind((host, 0))
        return True
    return False


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "store"))
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "")  # noted, so that what the code under test sets (MLflow does) ends with the test
        monkeypatch.delenv(name)
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else "localhost"
        is_ray = request.node.get_closest_marker("ray") is not None
        if host not in ("127.0.0.1", "localhost", "::1") and not (is_ray and _is_here(host)):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a folder with the repository's params.yaml, changed where the call says, and work in it.

    `project(split={"seed": 1})` changes split.seed; the folder is given back.
    """

    def make(**sections: dict[str, object]) -> Path:
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
        for name, changes in sections.items():
            params[name].update(changes)
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        (folder / "unlabelled").mkdir(exist_ok=True)
        (folder / "labels.csv").write_text("id,path,label,who,when\n", encoding="utf-8")
        monkeypatch.chdir(folder)
        return folder

    return make


def made_once(name: str, make: Callable[[Path], None], factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Make a folder once for all workers of pytest-xdist, which share it; the others wait for the first."""
    base = factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / name
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A small bundle, made once: tests copy it before they change it; beside it, the pictures and the store."""
    from tests.support.bundles import make_bundle

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAFT_STORE", str(folder / "store"))
            make_bundle(folder)

    return made_once("bundle", make, tmp_path_factory, worker_id) / "bundle"


@pytest.fixture(scope="session")
def made_clone(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> "Clone":
    """A clone in which the pipeline has run, once for all tests, which copy it; its output is `first_output`."""
    from tests.support.clones import Clone, environment_of

    def make(folder: Path) -> None:
        (folder / "output.txt").write_text(Clone(folder).repro(), encoding="utf-8")

    folder = made_once("made", make, tmp_path_factory, worker_id)
    clone = Clone.at(folder / "clone", environment_of(folder / "clone", folder / "store"), folder / "store")
    clone.first_output = (folder / "output.txt").read_text(encoding="utf-8")
    return clone


@pytest.fixture
def attack(tmp_path: Path, request: pytest.FixtureRequest) -> "Attack":
    """Try damaged inputs, and count what becomes of them."""
    from tests.support.fuzzing import Attack

    return Attack(folder=tmp_path, properties=request.node.user_properties)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults and damaged inputs were tried, if any, and what became of them."""
    from tests.support.faults import TALLY

    if TALLY["tried"]:
        terminalreporter.write_line(f"faults: {TALLY['tried']} tried, {TALLY['lost']} lost")
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    lines = {str(line) for report in reports for name, line in report.user_properties if name == "fuzz"}
    for line in sorted(lines):
        terminalreporter.write_line(f"fuzz: {line}")
