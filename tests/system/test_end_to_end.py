"""The real `dvc repro` in a temporary clone: once, again, from nothing, and with one thing changed at a time."""

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest

from stages.graft.heads.features import read_features
from stages.graft.heads.head import load_head
from tests.support.clones import IDENTITY, OUTS, Clone
from tests.support.imports import STAGES
from tests.support.packed import packed_images
from tests.support.pictures import write

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def clone(made_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return made_clone.copy(tmp_path_factory.mktemp("end-to-end"))


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def repro(clone: Clone) -> list[str]:
    """The stages that `graft repro` runs."""
    return ran(clone.run("graft", "repro"))


def test_the_first_run_makes_everything(clone: Clone):
    output = clone.first_output
    assert ran(output) == list(STAGES)
    assert "extract: 48 images, 48 new" in output
    metrics = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert 0 <= metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"] <= 1
    assert not [path for path in clone.folder.rglob("*.tmp") if ".dvc" not in path.parts]
    assert (clone.folder / "mlflow.db").exists()


def test_a_second_run_does_nothing(clone: Clone):
    assert ran(clone.repro()) == []


def test_from_nothing_and_with_an_empty_store_the_bytes_are_the_same(clone: Clone):
    before = clone.digests()
    for place in (*OUTS, "reports", "dvc.lock", ".dvc/cache"):
        path = clone.folder / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(clone.environment["GRAFT_STORE"])
    output = clone.run("dvc", "repro", "--no-run-cache")
    assert "48 images, 48 new" in output
    assert clone.digests() == before
    assert "48 images, none new" in clone.run("dvc", "repro", "--force", "--single-item", "extract")
    assert clone.digests() == before


def test_predict_says_of_every_image_what_the_pipeline_says(clone: Clone):
    for name, data in packed_images(clone.folder / "data/images").items():
        write(clone.folder / "unpacked" / name, data)
    clone.run("graft", "predict", "unpacked", "--out", "answers.csv")
    said = pd.read_csv(clone.folder / "answers.csv").assign(id=lambda table: table["file"].str[-68:-4])
    head = load_head(clone.folder / "data/head")
    ids, x = read_features(clone.folder / "data/features.safetensors")
    labels = dict(zip(ids, (head.classes[k] for k in head.logits(x).argmax(axis=1)), strict=True))
    assert dict(zip(said["id"], said["label"], strict=True)) == labels
    test = pd.read_csv(clone.folder / "reports/predictions.csv").merge(said, on="id", suffixes=("", "_said"))
    assert len(test) == len(pd.read_csv(clone.folder / "reports/predictions.csv"))
    for name in ("unsure", "unknown"):
        assert (test[name] == test[f"{name}_said"]).all()
    np.testing.assert_allclose(test["confidence"], test["confidence_said"], atol=2e-6)
    (clone.folder / "answers.csv").unlink()
    shutil.rmtree(clone.folder / "unpacked")


def test_one_change_runs_only_what_depends_on_it(clone: Clone):
    clone.set_params("train_head", kind="prototype")
    assert repro(clone) == ["train_head", "finetune", "explain", "evaluate", "report"]
    clone.set_params("split", seed=1)
    assert "images, none new" in clone.run("graft", "repro")
    clone.set_spec(per_class=10)
    assert "extract: 60 images, 12 new" in clone.run("graft", "repro")


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("graft/report/page.html", ["report"]),
        ("graft/tracking/publish.py", []),
        ("graft/evaluation/shots.py", ["explore", "explain", "evaluate"]),
    ],
)
def test_a_change_of_code_runs_only_what_reaches_it(clone: Clone, file: str, stages: list[str]):
    path = clone.folder / "stages" / file
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    assert repro(clone) == stages
    path.write_bytes(before)
    assert repro(clone) == stages  # DVC keeps nothing of a stage with an out that git holds


@pytest.mark.rare
def test_fine_tuning_ends_in_a_model_that_evaluate_scores(clone: Clone):
    clone.set_params("finetune", strategy="full", epochs=1, keep="always")
    assert ran(clone.repro()) == ["finetune", "explain", "evaluate", "report"]
    assert (clone.folder / "data/model/backbone.safetensors").exists()
    assert json.loads((clone.folder / "reports/finetune.json").read_text())["strategy"] == "full"


def test_a_users_mistake_ends_with_one_line_and_nothing_lost(clone: Clone):
    before = (clone.folder / "data/model/model.json").read_bytes()
    clone.set_params("train_head", kind="forest")
    output = clone.repro(code=255)
    (line,) = [line for line in output.splitlines() if line.startswith("train_head: error:")]
    assert "train_head.kind" in line
    assert "forest" in line
    clone.set_params("train_head", kind="prototype")
    repro(clone)
    assert (clone.folder / "data/model/model.json").read_bytes() == before


@pytest.mark.rare
def test_a_temporary_experiment_lands_in_the_same_store(clone: Clone):
    clone.run("git", "add", "--all")
    clone.run("git", *IDENTITY, "commit", "--quiet", "--message", "state")
    clone.set_params("finetune", strategy="none")
    output = clone.run("dvc", "exp", "run", "--temp", "--name", "few-shot", "-S", "split.train_per_class=2")
    assert "few-shot" in output
    with sqlite3.connect(clone.folder / "mlflow.db") as database:
        names = {name for (name,) in database.execute("select name from runs")}
    database.close()
    assert "few-shot" in names
