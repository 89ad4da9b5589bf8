"""The stage draws, writes the page and publishes; the command writes the page alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages import report
from stages.graft.core.stage import run
from tests.conftest import REPOSITORY
from tests.support.commands import graft
from tests.support.reports import write_reports

PAGE = Path(report.PAGE)


@pytest.fixture
def root(project):
    folder = project(report={"gallery_images": 2})
    write_reports(folder)
    return folder


@pytest.fixture
def published(monkeypatch):
    """Calls of tracking, which has tests of its own: each is whether figures and page were there."""
    calls = []
    monkeypatch.setattr(report, "publish", lambda: calls.append((report.FIGURES.is_dir(), PAGE.exists())))
    return calls


def figures(root):
    return {path.name: path.read_bytes() for path in (root / "reports/figures").iterdir()}


def test_the_stage_publishes_figures_and_page(root, published, capsys):
    run("report", report.main)
    assert published == [(True, True)]
    assert len(figures(root)) == 8
    assert "report: reports/report.html with 8 figures; open it in a browser" in capsys.readouterr().out


def test_a_second_run_writes_the_same_figures_and_removes_others(root, published):
    run("report", report.main)
    first = figures(root)
    (root / "reports/figures/old.png").write_bytes(b"")
    run("report", report.main)
    assert figures(root) == first


def test_the_command_writes_the_page_alone_and_needs_nothing_of_dvcs(root, published, capsys):
    for path in (root / "data/images").iterdir():
        path.unlink()
    (root / "data/bundle/decision.json").unlink()
    graft("report")
    assert published == []
    assert not report.FIGURES.exists()
    assert (root / "reports/report.html").read_text(encoding="utf-8").count('<img src="data:image/png') == 8
    assert "report: reports/report.html, 0." in capsys.readouterr().out


def test_the_command_writes_the_stages_own_page(root, published):
    run("report", report.main)
    page = PAGE.read_bytes()
    graft("report")
    assert PAGE.read_bytes() == page


@pytest.mark.parametrize("path", ["reports/metrics.json", "reports/plots/shots.csv", "reports/predictions.csv"])
def test_a_missing_file_is_one_line_and_the_older_figures_stay(root, published, path):
    run("report", report.main)
    first = figures(root)
    (root / path).unlink()
    with pytest.raises(SystemExit, match=f"report: error: {path} cannot be read"):
        run("report", report.main)
    assert len(published) == 1
    assert figures(root) == first


@pytest.mark.parametrize("number", [-1, 61])
def test_the_gallery_has_bounds(project, number):
    project(report={"gallery_images": number})
    with pytest.raises(SystemExit, match=r"`report\.gallery_images` should be"):
        run("report", report.main)


def test_only_what_is_needed_is_imported(root):
    code = (
        "import sys; from stages import report; report.publish = lambda: None; report.main(); "
        "print(', '.join({'torch', 'sklearn', 'scipy', 'mlflow', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
