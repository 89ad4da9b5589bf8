"""The lists of code: true of the files, and changed by what a stage reaches alone."""

import hashlib
import shutil
from pathlib import Path

import pytest

from stages import code
from tests.conftest import REPOSITORY


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(REPOSITORY / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    code.main()
    return tmp_path


def lists(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in (folder / "data/code").iterdir()}


def test_each_line_is_the_hash_of_a_file(copied: Path):
    assert set(lists(copied)) == {*code.STAGES, *code.SIDE_STAGES}
    for text in lists(copied).values():
        for line in text.splitlines():
            digest, path = line.split("  ")
            assert hashlib.sha256((copied / path).read_bytes()).hexdigest() == digest
    assert "  stages/split.py\n" in lists(copied)["split"]
    assert "  stages/graft/assignment.py\n" in lists(copied)["split"]


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("figures", {"report"}),
        ("logistic", {"train_head", "explore"}),
        ("tracking", set()),
        ("cluster", set()),
    ],
)
def test_a_change_reaches_the_stages_that_it_can_alter(copied: Path, module: str, stages: set[str]):
    before = lists(copied)
    with (copied / f"stages/graft/{module}.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    code.main()
    after = lists(copied)
    assert {stage for stage in code.STAGES if before[stage] != after[stage]} == stages


def test_equal_code_gives_equal_bytes(copied: Path):
    before = lists(copied)
    code.main()
    assert lists(copied) == before


def test_every_module_that_is_left_out_exists():
    assert not [name for name in code.OUTSIDE if not (REPOSITORY / f"stages/graft/{name}.py").is_file()]
