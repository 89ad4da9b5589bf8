"""docs/try_graft.ipynb runs from its first to its last cell, as Jupyter would run it."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.clones import Clone
from tests.system.test_readme import make_user_images

NOTEBOOK = REPOSITORY / "docs/try_graft.ipynb"

START = """
import subprocess


def display(picture):
    print("shown", picture.size)


def shell(command):
    subprocess.run(command, shell=True, check=True)


"""
"""What Jupyter gives to a cell."""


def script(source: Path) -> str:
    """The code of all cells; a line that begins with ! is a command of the shell, with names in braces."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    text = re.sub(r"^!(.*)$", lambda line: f"shell(f'''{line[1]}''')", text, flags=re.M)
    return START + text.replace("/path/to/your/images", str(source))


def test_it_has_ten_cells_and_no_output_is_kept():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert len(cells) == 10
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.rare
def test_every_cell_runs(made_clone: Clone, tmp_path: Path):
    clone = made_clone.copy(tmp_path)
    make_user_images(tmp_path / "your images")
    (clone.folder / "notebook.py").write_text(script(tmp_path / "your images"), encoding="utf-8")
    said = clone.run("python", "notebook.py")
    assert said.count("shown (") == 4
    assert "dark plates" in said
