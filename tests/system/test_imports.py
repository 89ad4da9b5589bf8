"""Which files a file reaches: a small project by hand."""

from pathlib import Path

import pytest

from tests.support.imports import imported, reached

FILES = {
    "stages/__init__.py": "",
    "stages/train.py": "import json\nfrom stages.graft.one.a import x\nfrom stages.graft.one import b as other\n",
    "stages/graft/one/a.py": "import numpy\n\ndef f():\n    from stages.graft.two.c import y\n",
    "stages/graft/one/b.py": "import stages.graft.one.a\nfrom stages.graft.watch.look import z\n",
    "stages/graft/two/c.py": "x = 1\n",
    "stages/graft/watch/look.py": "import stages.graft.two.d\n",
    "stages/graft/two/d.py": "def g():\n    import stages.graft.two.e\n",
    "stages/graft/two/e.py": "",
    "stages/graft/two/unused.py": "import stages.train\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def names(root: Path, **options: object) -> list[str]:
    return sorted(path.stem for path in reached(root / "stages/train.py", root, **options))


def test_everything_imported_is_reached_once_also_in_functions_and_through_others(root: Path):
    assert names(root) == ["a", "b", "c", "d", "e", "look", "train"]


def test_a_package_that_is_outside_is_left_out_with_what_only_it_imports(root: Path):
    assert names(root, outside=frozenset({"watch"})) == ["a", "b", "c", "train"]


def test_what_a_start_imports_is_not_what_functions_import(root: Path):
    assert names(root, lazy=False) == ["a", "b", "d", "look", "train"]


def test_both_readings_of_from_import(root: Path):
    wanted = {"json", "stages.graft.one.a", "stages.graft.one.a.x", "stages.graft.one", "stages.graft.one.b"}
    assert imported(root / "stages/train.py") == wanted


def test_a_relative_import_is_named_with_its_line(root: Path):
    (root / "stages/graft/two/c.py").write_text("x = 1\nfrom . import a\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"c\.py, line 2, imports from a relative name"):
        reached(root / "stages/train.py", root)
