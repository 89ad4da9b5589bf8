import pytest
import yaml

from stages.graft.storage.files import read_json, write_json
from tests.support.commands import graft
from tests.support.reports import commit_all, write_reports


@pytest.fixture
def root(project, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = project()
    write_reports(folder)
    commit_all(folder)
    return folder


def change_everything(root):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["split"]["seed"] = 7
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    write_reports(root, wrong=1)
    gate = read_json(root / "reports/gate.json")
    write_json(gate | {"passed": False, "reasons": ["`a|b` is missed."]}, root / "reports/gate.json")


@pytest.mark.parametrize("against", [[], ["--against", "HEAD"]])
def test_parameters_metrics_with_intervals_and_the_gate(root, capsys, against):
    change_everything(root)
    graft("changes", *against)
    shown = capsys.readouterr().out
    assert "split.seed" in shown
    assert shown.startswith("Usable: 94.4% of 18 test images are right, and every condition of `evaluate.gate` holds.")
    assert "On the same 18 test images, accuracy went from 83.3% to 94.4%: 2 right only now" in shown
    assert shown.endswith("At HEAD, the gate held.\n")


def test_markdown_for_a_comment(root, capsys):
    change_everything(root)
    graft("changes", "--markdown")
    shown = capsys.readouterr().out
    assert "| split.seed | 0 | 7 |  |" in shown
    assert shown.startswith("**Usable&#58; 94.4% of 18 test images are right, and every condition of &#96;evaluate")


def test_a_commit_that_git_does_not_know(root):
    with pytest.raises(SystemExit, match="git knows no commit `origin/nowhere`; `git fetch`"):
        graft("changes", "--against", "origin/nowhere")
    with pytest.raises(SystemExit, match="git knows no commit `--output=x`"):
        graft("changes", "--against=--output=x")
    assert not (root / "x").exists()


def test_a_commit_without_results_is_said(root, capsys):
    (root / "reports/metrics.json").rename(root / "elsewhere")
    commit_all(root)
    (root / "elsewhere").rename(root / "reports/metrics.json")
    graft("changes", "--against", "HEAD")
    assert "HEAD holds no results: nothing is compared." in capsys.readouterr().out
    graft("changes")
    assert "There is no earlier result on these test images: nothing is compared." in capsys.readouterr().out


def test_without_results_it_says_what_makes_them(root):
    (root / "reports/metrics.json").unlink()
    with pytest.raises(SystemExit, match=r"reports/metrics.json does not exist: `dvc repro` makes it"):
        graft("changes")
