import pytest

from stages.commands import publish
from stages.graft.storage.files import write_text
from tests.support.commands import graft


@pytest.fixture
def published(monkeypatch):
    """Calls of tracking, which has tests of its own."""
    calls = []
    monkeypatch.setattr(publish, "publish", lambda: calls.append(True))
    return calls


def write_lock(root, kind: str) -> None:
    params = f"{{params.yaml: {{train_head.kind: {kind}}}}}"
    write_text(f"stages: {{train_head: {{cmd: x, params: {params}}}}}\n", root / "dvc.lock")
    write_text("stages: {train_head: {cmd: x}}\n", root / "dvc.yaml")


def test_present_results_are_published(project, published):
    write_lock(project(), "auto")
    graft("publish")
    assert published == [True]


def test_results_of_other_parameters_are_refused(project, published):
    write_lock(project(), "mlp")
    with pytest.raises(SystemExit, match=r"of `train_head\.kind` 'mlp', params.yaml has 'auto'; `dvc repro` brings"):
        graft("publish")
    assert published == []
