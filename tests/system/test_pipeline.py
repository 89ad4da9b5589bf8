"""The pipeline's files against the code: params are what scripts read, imports point one way."""

import ast
import importlib
import random
import re
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml.main
import yaml
from dvc.dagascii import draw
from pydantic import BaseModel

from tests.conftest import REPOSITORY
from tests.support.imports import STAGES, arrows, imported, package_of, reached

FLOORS = (
    {"core"},
    {"storage"},
    {"images", "metrics"},
    {"data", "backbone"},
    {"heads", "duplicates", "advice"},
    {"model"},
    {"training", "evaluation", "tracking", "labelling"},
    {"compute", "report", "maintenance"},
    {"serving"},
)
"""The library's packages from the ground up: a package imports from the floors below its own, and from no other."""

OUTSIDE = frozenset({"tracking"})
"""No stage depends on it: what MLflow is told of a run changes no output."""

TORCH_FREE = {"ingest", "duplicates", "split", "explore"}
"""Scripts that never reach torch, not even lazily."""


def modules_below(folder: str, at_least: int) -> list[Path]:
    """Every module below a folder; a guard that looks at none of them would pass on nothing."""
    found = sorted((REPOSITORY / folder).rglob("*.py"))
    assert len(found) >= at_least, f"{folder} has {len(found)} modules, fewer than the {at_least} there must be"
    return found


LIBRARY = [path for path in modules_below("stages/graft", at_least=100) if path.name != "__init__.py"]
PROJECT = modules_below("stages", at_least=120)


def script(stage: str) -> Path:
    return REPOSITORY / "stages" / f"{stage}.py"


def load(path: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def params_read(path: Path) -> set[str]:
    """Every key a script's models take from params.yaml, as DVC writes them."""
    module = importlib.import_module(f"stages.{path.stem}")
    keys: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_params" and len(node.args) == 2:
            section, model = ast.literal_eval(node.args[0]), getattr(module, node.args[1].id)  # type: ignore[attr-defined]
            keys |= set(leaves(model, f"{section}."))
    return keys


def leaves(model: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += leaves(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + (field.alias or name))
    return keys


def test_the_stages_are_the_scripts_and_nothing_else_is_beside_them():
    assert tuple(load("dvc.yaml")["stages"]) == STAGES
    names = {path.stem for path in (REPOSITORY / "stages").glob("*.py")}
    assert names == {*STAGES, "cli", "__init__"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_on_the_packages_it_reaches(stage: str):
    packages = {package_of(path, REPOSITORY) for path in reached(script(stage), REPOSITORY, OUTSIDE)} - {""}
    deps = [dep for dep in load("dvc.yaml")["stages"][stage]["deps"] if dep.startswith("stages")]
    assert sorted(deps) == sorted([f"stages/{stage}.py", *(f"stages/graft/{name}" for name in packages)])


UPSTREAM = {
    "ingest": set(),
    "duplicates": {"ingest"},
    "split": {"duplicates"},
    "extract": {"ingest", "split"},
    "train_head": {"extract", "split"},
    "finetune": {"split", "train_head"},
    "explore": {"extract", "split"},
    "explain": {"explore", "finetune"},
    "evaluate": {"explain", "explore", "extract", "finetune"},
    "report": {"evaluate", "explore", "finetune", "train_head"},
}
"""Stages whose outputs a stage reads: as few as possible, so that `dvc dag` can be read."""

MAX_COLUMNS = 136
"""Width of `dvc dag`."""


def outs(record: dict[str, Any]) -> list[str]:
    """Every path that a stage writes."""
    return [out if isinstance(out, str) else next(iter(out)) for out in record["outs"] + record.get("metrics", [])]


def test_a_stage_reads_what_these_stages_write():
    stages = load("dvc.yaml")["stages"]
    writer = {path: stage for stage, record in stages.items() for path in outs(record)}
    found = {
        stage: {writer[path] for path in writer for dep in record["deps"] if dep == path or dep.startswith(f"{path}/")}
        for stage, record in stages.items()
    }
    assert found == UPSTREAM


@pytest.mark.parametrize("seed", range(20))
def test_dvc_dag_fits_a_terminal(seed: int):
    """DVC's layout depends on the order of stages and edges, which is not always the same."""
    order = random.Random(seed)
    edges = [(stage, other) for stage, others in UPSTREAM.items() for other in sorted(others)]
    drawing = draw(order.sample(list(UPSTREAM), len(UPSTREAM)), order.sample(edges, len(edges)))
    assert max(len(line.rstrip()) for line in drawing.splitlines()) <= MAX_COLUMNS


def test_the_root_pipeline_is_the_only_one_that_dvc_sees():
    files = {path.parent for path in REPOSITORY.rglob("dvc.yaml") if ".venv" not in path.parts}
    assert files == {REPOSITORY, REPOSITORY / "data/backbones/pretraining"}
    assert (REPOSITORY / "data/backbones/pretraining/.dvc/config").is_file()  # a DVC repository of its own


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_ones_the_stage_reads(stage: str):
    declared = load("dvc.yaml")["stages"][stage]["params"]
    assert set(declared) == params_read(script(stage))
    assert len(declared) == len(set(declared))


def test_every_parameter_is_read_by_a_stage_and_every_section_is_a_stage_or_shared():
    params = load("params.yaml")
    assert set(params) == {*STAGES, "backbone", "compute", "tracking"}
    read = set().union(*(params_read(script(stage)) for stage in STAGES))

    def flat(section: dict[str, Any], prefix: str) -> set[str]:
        keys: set[str] = set()
        for name, value in section.items():
            keys |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
        return keys

    # `compute` says where the work is done, `tracking` who is told of it: a change of either runs nothing again.
    outside = ("compute", "tracking")
    assert flat({name: value for name, value in params.items() if name not in outside}, "") == read


def test_every_parameter_has_a_comment():
    lines = (REPOSITORY / "params.yaml").read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if line.startswith("  ") and ":" in line.split("#")[0]]
    assert [line for line in keys if "#" not in line] == []


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_named_described_and_reported_alike(stage: str):
    record = load("dvc.yaml")["stages"][stage]
    assert record["cmd"] == f"python -m stages.{stage}"
    assert record["desc"]
    paths = outs(record)
    report = {"evaluate": "reports/metrics.json", "report": "reports/figures"}.get(stage, f"reports/{stage}.json")
    assert report in paths
    docstring = ast.get_docstring(ast.parse(script(stage).read_text(encoding="utf-8")))
    assert docstring is not None
    for path in paths:
        folder = f"{Path(path).parent.as_posix()}/"
        assert path in docstring or f"{path}/" in docstring or folder in docstring, f"{path} is not in the docstring"


MAX_LINES, MAX_MAIN_LINES = 60, 30
"""Lines of a stage's script below its parameters, and of its main: what is longer belongs in the library."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_as_prose(stage: str):
    text = script(stage).read_text(encoding="utf-8")
    body = ast.parse(text).body
    (main,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert main.end_lineno is not None
    assert main.end_lineno - main.lineno < MAX_MAIN_LINES
    last_params = max((node.end_lineno or 0 for node in body if isinstance(node, ast.ClassDef)), default=0)
    first_function = min(node.lineno for node in body if isinstance(node, ast.FunctionDef))
    assert len(text.splitlines()) - max(last_params, first_function - 1) <= MAX_LINES


@pytest.mark.parametrize("stage", STAGES)
def test_the_lock_is_a_dep_where_a_library_can_change_an_output(stage: str):
    assert ("requirements.lock" in load("dvc.yaml")["stages"][stage]["deps"]) == (stage != "split")


def test_every_package_has_its_floor():
    assert {package_of(path, REPOSITORY) for path in LIBRARY} == set().union(*FLOORS)


@pytest.mark.parametrize("package", sorted(set().union(*FLOORS)))
def test_imports_point_down(package: str):
    own = next(number for number, floor in enumerate(FLOORS) if package in floor)
    allowed = {package}.union(*FLOORS[:own])
    files = [path for path in LIBRARY if package_of(path, REPOSITORY) == package]
    found = {(path.name, other) for path in files for other in arrows(path, REPOSITORY)}
    assert found
    assert not {(name, str(other)) for name, other in found if package_of(other, REPOSITORY) not in allowed}


def test_imports_go_round_no_circle():
    targets = {path: set(arrows(path, REPOSITORY)) - {path} for path in PROJECT}
    assert sum(map(len, targets.values())) > len(PROJECT)
    while targets:
        leaves_ = {path for path, others in targets.items() if not others & targets.keys()}
        assert leaves_, f"a circle among {sorted(path.stem for path in targets)}"
        targets = {path: others for path, others in targets.items() if path not in leaves_}


def test_a_script_imports_no_other_stage():
    for path in PROJECT:
        stages = {other.stem for other in arrows(path, REPOSITORY) if other.parent == REPOSITORY / "stages"}
        assert not stages & set(STAGES) or (package_of(path, REPOSITORY) == "" and path.parent.name == "benchmarks"), (
            path
        )


def test_a_package_is_imported_for_nothing_but_its_docstring():
    packages = [path for path in PROJECT if path.name == "__init__.py"]
    assert len(packages) > len(set().union(*FLOORS))
    for path in packages:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1 or path == REPOSITORY / "stages/__init__.py", path


def test_mlflow_is_imported_by_the_tracking_modules_alone():
    importers = [path for path in PROJECT if any(name.split(".")[0] == "mlflow" for name in imported(path))]
    assert importers
    assert not [path for path in importers if package_of(path, REPOSITORY) != "tracking"]


def test_ray_is_imported_by_the_cluster_modules_alone():
    pattern = re.compile(r'import_module\("ray|^\s*(import|from) ray\b', re.M)
    importers = [path for path in LIBRARY if pattern.search(path.read_text(encoding="utf-8"))]
    assert importers
    assert not [path for path in importers if not path.stem.startswith("ray_")]


def test_openvino_is_imported_where_it_is_kept_from_reporting_its_use():
    importers = [path.stem for path in PROJECT if any(name.split(".")[0] == "openvino" for name in imported(path))]
    assert sorted(importers) == ["classify", "quiet_openvino"]  # classify.py runs beside an export, without Graft


def test_nncf_is_imported_in_one_place_after_openvino_which_keeps_it_from_reporting_its_use():
    importers = [path.stem for path in PROJECT if any(name.split(".")[0] == "nncf" for name in imported(path))]
    assert importers == ["int8"]


def test_dvc_reads_yaml_in_c():
    """In Python alone, half of a `dvc repro` with nothing to do goes by reading dvc.lock."""
    assert ruamel.yaml.main.CParser is not None


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_torch_before_it_is_needed(stage: str):
    eager = reached(script(stage), REPOSITORY, lazy=False)
    heavy = {
        path.stem
        for path in eager
        if {"torch", "torchvision", "mlflow"} & {n.split(".")[0] for n in imported(path, False)}
    }
    assert not heavy


@pytest.mark.parametrize("stage", sorted(TORCH_FREE))
def test_some_stages_never_import_torch(stage: str):
    files = reached(script(stage), REPOSITORY, OUTSIDE)
    assert not [path for path in files if "torch" in imported(path)]
