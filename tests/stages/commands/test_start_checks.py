import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages import ingest
from stages.commands.start_checks import CHECKED, MODELS, check_all_params, check_start
from stages.graft.core.errors import ParamsError
from stages.graft.core.stage import run_stage
from tests.conftest import REPOSITORY
from tests.support.imports import STAGES
from tests.support.pictures import class_folder, png, write


@pytest.fixture
def params(tmp_path, monkeypatch):
    """A folder with this repository's params.yaml, its working folder; gives a function that changes a value there."""
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)

    def change(section, **values):
        content[section] |= values
        Path("params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    change("ingest", source=str(tmp_path))
    return change


def test_every_section_has_the_model_that_its_stage_uses():
    assert set(MODELS) == set(yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8")))
    found = {}
    for stage in STAGES:
        module = importlib.import_module(f"stages.{stage}")
        for node in ast.walk(ast.parse(Path(module.__file__).read_bytes())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_params":
                section, model = ast.literal_eval(node.args[0]), getattr(module, node.args[1].id)
                if model.model_config["extra"] == "forbid":
                    found[section] = model
    for section, model in found.items():
        module, _, name = MODELS[section].rpartition(".")
        assert getattr(importlib.import_module(module), name) is model, section


def test_a_mistake_in_any_section_stops_the_first_stage(params):
    params("finetune", strategy="partal")
    params("evaluate", target_accuracy=1.5)
    done = []
    with pytest.raises(SystemExit) as caught:
        run_stage("ingest", lambda: done.append(1))
    assert caught.value.code == (
        "ingest: error: params.yaml: `finetune.strategy` should be 'none', 'partial' or 'full', got 'partal'; "
        "`evaluate.target_accuracy` should be less than 1, got 1.5"
    )
    assert done == []


def test_the_params_are_checked_once_and_again_after_a_change(params):
    check_all_params()
    before = Path(CHECKED).read_text()
    check_all_params()
    params("split", seed=5)
    check_all_params()
    assert Path(CHECKED).read_text() != before
    params("split", val_fraction=-5.0)
    for _ in range(2):
        with pytest.raises(ParamsError, match=r"`split\.val_fraction`"):
            check_all_params()


def test_a_folder_without_params_is_left_to_the_stage(tmp_path):
    check_all_params(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_check_imports_nothing_heavy():
    heavy = "{'torch', 'sklearn', 'scipy', 'matplotlib', 'mlflow', 'openvino', 'cleanlab', 'jinja2'}"
    code = (
        "import sys, pandas; before = set(sys.modules); from stages.commands.start_checks import MODELS, _model; "
        f"[_model(name) for name in MODELS.values()]; sys.exit(str({heavy} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stderr.strip() == "set()"


def test_graft_repro_names_the_setting_of_a_missing_source(params, tmp_path):
    (tmp_path / "unlabelled").mkdir()
    (tmp_path / "labels.csv").touch()
    check_start()
    params("ingest", source="no such (folder) ~ here")
    with pytest.raises(ParamsError, match=r"`ingest.source` names no such \(folder\) ~ here, which does not exist"):
        check_start()
    params("ingest", source="s3://bucket/folder")
    check_start()


def test_a_stage_of_dvc_that_fails_says_how_its_outputs_come_back(params, tmp_path, monkeypatch):
    params("split", val_fraction=-5.0)
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n  ingest:\n    cmd: x\n")
    message = "\ningest: DVC has removed the earlier outputs; `dvc checkout ingest` brings its data back"
    for stage, in_dvc, expected in (("ingest", True, True), ("split", True, False), ("ingest", False, False)):
        monkeypatch.setattr(os, "environ", {"DVC_STAGE": stage} if in_dvc else {})
        with pytest.raises(SystemExit) as caught:
            run_stage(stage, lambda: None)
        assert (message in caught.value.code) is expected
        assert caught.value.code.startswith(f"{stage}: error: params.yaml: `split.val_fraction`")


def test_a_stage_warns_of_images_that_changed_behind_dvcs_back(project, tmp_path, capsys):
    class_folder(tmp_path)
    source = write(tmp_path / "list.csv", b"path,label\nhole/0.png,a\nscratch/0.png,b\n")
    project(ingest={"source": str(source)})
    run_stage("ingest", ingest.main)
    run_stage("report", lambda: None)
    assert "warning" not in capsys.readouterr().err
    write(tmp_path / "hole/0.png", png(9))
    run_stage("report", lambda: None)
    said = f"1 images have changed since `ingest` read them, such as {tmp_path}/hole/0.png; DVC does not watch them"
    assert f"report: warning: {said}, `graft repro` does\n" in capsys.readouterr().err
