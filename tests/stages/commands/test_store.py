"""graft store: everything is listed with whose it is; prune removes what it says, after asking, never what is open."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.graft.backbone.openvino_runtime import RECORD as NETWORK
from stages.graft.storage.feature_backends import RECORD, FolderBackend
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.files import _host, write_json
from stages.graft.storage.hashing import fingerprint_of
from tests.conftest import REPOSITORY
from tests.support.clones import IDENTITY
from tests.support.commands import graft

PREPROCESSING = {"crop_px": 64}
RUNTIME = {"runtime": "openvino 2026.4.1-1", "precision": "bf16"}
DAY = 86400


def backbone(name: str) -> dict[str, Any]:
    return {"name": name, "weights": "bundled", "sha256": f"of {name}", "preprocessing": PREPROCESSING,
            "layers": ["penultimate"], "pooling": "avg"}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    folder = tmp_path / "store"
    for number, name in enumerate(("here", "branch", "tag", "experiment", "unused")):
        opened = FeatureStore(folder, {**backbone(name), **RUNTIME, "decoder": "pillow"})
        ids = [f"{number:02d}{row:062d}" for row in range(number + 1)]
        opened.add(ids, np.zeros((number + 1, 4), np.float32))
        used = time.time() - number * 10 * DAY
        assert isinstance(opened.backend, FolderBackend)
        os.utime(opened.backend.path / RECORD, (used, used))
        made_from = {"format": 3, **backbone(name), "openvino": "2026.4.1-1", "torch": "2", "torchvision": "0"}
        network = folder / "networks" / fingerprint_of(made_from)
        write_json({"made_from": made_from, "sha256": None, "cosine": {}, "error": None}, network / NETWORK)
        os.utime(network / NETWORK, (used, used))
        del opened
    return folder


@pytest.fixture
def repository(project: Callable[..., Path]) -> Path:
    """One in whose workspace, branch, tag and experiment another backbone is used each."""
    folder = project()
    git(folder, "init", "--quiet")
    for name in ("branch", "tag", "experiment"):
        report(folder, name)
        git(folder, "add", "--all")
        git(folder, *IDENTITY, "commit", "--quiet", "--message", name)
    git(folder, "update-ref", "refs/exps/ab/cdef/exp-1", "HEAD")
    git(folder, "tag", "v1", "HEAD~1")
    git(folder, "branch", "other", "HEAD~2")
    git(folder, "checkout", "--quiet", "--orphan", "new")
    report(folder, "here")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def report(folder: Path, name: str) -> None:
    write_json({"num_images": 1, "backbone": backbone(name), "runtime": RUNTIME}, folder / "reports/extract.json")


def left(store: Path) -> set[str]:
    """Whose rows and networks are still there."""
    records = [*store.glob(f"[0-9a-f]*/{RECORD}"), *store.glob(f"networks/*/{NETWORK}")]
    read = [json.loads(path.read_text()) for path in records]
    return {
        f"{record.get('made_from', record)['name']} {'network' if 'made_from' in record else ''}".strip()
        for record in read
    }


def test_each_backbone_has_its_line(repository: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    graft("store")
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("features") and " tag " in line]
    assert line.split()[:8] == ["features", "tag", "bundled", "64", "openvino", "2026.4.1", "bf16", "3"]
    assert " yes " in line
    (line,) = [line for line in lines if line.startswith("network") and " unused " in line]
    assert " no " in line
    assert lines[-1].startswith(f"{store}: ")


def test_an_empty_store_is_said_to_be(repository: Path, capsys: pytest.CaptureFixture[str]):
    graft("store")
    assert capsys.readouterr().out.strip().endswith("store: 0.0 kB")
    graft("store", "prune", "--unused")
    assert "nothing of that kind" in capsys.readouterr().out


def test_unused_is_what_no_branch_tag_experiment_or_workspace_uses(repository: Path, store: Path):
    graft("store", "prune", "--unused", "--yes")
    used = {"here", "branch", "tag", "experiment"}
    assert left(store) == used | {f"{name} network" for name in used}
    assert not list(store.rglob("*.tmp"))
    assert len(list(store.rglob("*.lock"))) == len(used)  # none of what is gone


def test_old_is_what_was_not_opened_for_so_long(repository: Path, store: Path):
    graft("store", "prune", "--older-than", "25d", "--yes")
    young = {"here", "branch", "tag"}
    assert left(store) == young | {f"{name} network" for name in young}
    graft("store", "prune", "--older-than", "1w", "--unused", "--yes")  # both: what is used stays
    assert left(store) == young | {f"{name} network" for name in young}


def test_it_asks_first_and_no_is_no(repository: Path, store: Path, monkeypatch, capsys):
    before = left(store)
    with pytest.raises(SystemExit, match="no terminal to ask at; --yes deletes these"):
        graft("store", "prune", "--unused")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer in ("", "n", "nonsense"):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        graft("store", "prune", "--unused")
        assert "nothing is deleted" in capsys.readouterr().out
    assert left(store) == before
    monkeypatch.setattr("builtins.input", lambda question: "y")
    graft("store", "prune", "--unused")
    assert left(store) < before


def test_without_a_condition_nothing_goes(repository: Path, store: Path):
    before = left(store)
    with pytest.raises(SystemExit, match="--older-than 30d"):
        graft("store", "prune", "--yes")
    with pytest.raises(SystemExit, match="'soon'"):
        graft("store", "prune", "--older-than", "soon", "--yes")
    assert left(store) == before


def test_what_a_running_process_has_open_stays(repository: Path, store: Path, capsys: pytest.CaptureFixture[str]):
    code = """
import json, sys
from pathlib import Path
from stages.graft.storage.feature_store import FeatureStore
opened = FeatureStore(Path(sys.argv[1]), json.loads(sys.argv[2]))
print("open", flush=True)
input()
"""
    record = json.dumps({**backbone("unused"), **RUNTIME, "decoder": "pillow"})
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store), record], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=REPOSITORY,
    ) as reader:  # fmt: skip
        assert reader.stdout is not None
        reader.stdout.readline()
        graft("store", "prune", "--unused", "--yes")
        assert "a running process has it open" in capsys.readouterr().err
        assert "unused" in left(store)
        reader.communicate("\n")
    graft("store", "prune", "--unused", "--yes")
    assert "unused" not in left(store)


def test_what_killed_processes_left_goes_with_the_rest(repository: Path, store: Path):
    (store / "networks" / f".abc.{_host()}-999999999@1-00000000.tmp").mkdir()
    fragment = next(store.glob("[0-9a-f]*/*.safetensors"))
    fragment.with_suffix(".damaged").write_bytes(b"x")
    graft("store", "prune", "--older-than", "1000w", "--yes")
    assert not [path for path in store.rglob("*") if path.suffix in (".tmp", ".damaged")]
    assert len(left(store)) == 10
