"""Which files a file reaches: a small project by hand."""

from pathlib import Path

import pytest

from stages.graft.errors import GraftError
from stages.graft.imports import imported, reached

FILES = {
    "stages/__init__.py": "",
    "stages/train.py": "import json\nfrom stages.graft.a import x\nfrom stages.graft import b as other\n",
    "stages/graft/a.py": "import numpy\n\ndef f():\n    from stages.graft.c import y\n",
    "stages/graft/b.py": "import stages.graft.a\nfrom stages.graft.watch import z\n",
    "stages/graft/c.py": "x = 1\n",
    "stages/graft/watch.py": "import stages.graft.d\n",
    "stages/graft/d.py": "def g():\n    import stages.graft.e\n",
    "stages/graft/e.py": "",
    "stages/graft/alone.py": "import stages.train\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def names(paths: set[Path]) -> list[str]:
    return sorted(path.stem for path in paths)


def test_everything_imported_is_reached_once_also_in_functions_and_through_others(root: Path):
    assert names(reached("stages.train", root)) == ["a", "b", "c", "d", "e", "train", "watch"]


def test_what_is_outside_is_left_out_with_what_only_it_imports(root: Path):
    assert names(reached("stages.train", root, {"watch"})) == ["a", "b", "c", "train"]


def test_what_a_start_imports_is_not_what_functions_import(root: Path):
    assert names(reached("stages.train", root, lazy=False)) == ["a", "b", "d", "train", "watch"]


def test_both_readings_of_from_import(root: Path):
    wanted = {"json", "stages.graft.a", "stages.graft.a.x", "stages.graft", "stages.graft.b"}
    assert imported(root / "stages/train.py") == wanted


@pytest.mark.parametrize(
    ("line", "reason"), [("<<<<<<< HEAD", "is not valid Python"), ("from . import a", "imports from a relative name")]
)
def test_what_cannot_be_followed_is_named_with_its_line(root: Path, line: str, reason: str):
    (root / "stages/graft/c.py").write_text(f"x = 1\n{line}\n", encoding="utf-8")
    with pytest.raises(GraftError, match=rf"c\.py, line 2, {reason}"):
        reached("stages.train", root)
