import subprocess
import sys

import numpy as np
import pytest

from stages import split, train_head
from stages.graft.core.stage import run
from stages.graft.heads.features import load_features, read_features
from stages.graft.heads.fitting import NAMES
from stages.graft.heads.head import Head, load_head
from stages.graft.storage.files import read_json
from tests.conftest import REPOSITORY
from tests.support.features import feature_set, ids_of, write_features
from tests.support.pipeline import CLASSES, write_pipeline_start

FRACTIONS = {"seed": 0, "val_fraction": 0.25, "test_fraction": 0.25, "train_per_class": None}
OUTPUTS = ("data/head/head.safetensors", "reports/train_head.json", "reports/plots/train_head_curve.csv")


@pytest.fixture
def trained(project, monkeypatch):
    """Run the stage on made-up features; give the project's folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # no server answers there

    def run_stage(**params):
        folder = project(split=FRACTIONS, train_head=params)
        write_pipeline_start(folder)
        run("split", split.main)
        run("train_head", train_head.main)
        return folder

    return run_stage


@pytest.mark.parametrize("kind", ["lda", "logistic", "prototype", "mlp"])
def test_every_kind_gives_a_head_a_report_and_a_curve(trained, kind):
    folder = trained(kind=kind)
    head = load_head(folder / "data/head")
    assert (head.kind, head.classes) == (kind, CLASSES)
    val, test = load_features(folder / "data/features.safetensors", folder / "data/splits.csv", "val", "test")
    report = read_json(folder / "reports/train_head.json")
    assert report["kind"] == kind
    assert report["val_accuracy"] == round(float(np.mean(head.logits(val.x).argmax(axis=1) == val.y)), 6)
    assert np.mean(head.logits(test.x).argmax(axis=1) == test.y) > 0.7
    assert {"val_log_loss", "train_accuracy", "num_train", "num_features"} <= set(report)
    curve = (folder / "reports/plots/train_head_curve.csv").read_text().splitlines()
    assert curve[0] == "epoch,split,loss,accuracy"
    assert len(curve) == 1 + 2 * report.get("num_epochs", 0)


@pytest.mark.parametrize("kind", ["auto", "logistic", "prototype", "mlp"])
def test_a_second_run_writes_the_same_bytes(trained, kind):
    folder = trained(kind=kind, class_weight="balanced")
    first = [(folder / name).read_bytes() for name in OUTPUTS]
    run("train_head", train_head.main)
    assert [(folder / name).read_bytes() for name in OUTPUTS] == first


def test_the_default_says_in_one_line_what_it_took(trained, capsys):
    folder = trained(kind="auto")
    report = read_json(folder / "reports/train_head.json")
    losses = {kind: report[f"{kind}_log_loss"] for kind in ("lda", "logistic", "lda_and_logistic")}
    assert report["chosen"] == load_head(folder / "data/head").kind == min(losses, key=losses.get)
    right = f"{report[report['chosen'] + '_accuracy']:.1%} right in cross-validation of {report['num_held_out']} images"
    assert capsys.readouterr().out.splitlines()[-1] == f"train_head: {NAMES[report['chosen']]}, {right}"
    assert not any(isinstance(value, dict | list) for value in report.values())


def test_a_group_is_not_torn_apart_by_cross_validation(trained, monkeypatch):
    folder = trained(kind="prototype")
    train, val = load_features(folder / "data/features.safetensors", folder / "data/splits.csv", "train", "val")
    assert len(train.groups) == len(train.y)
    assert len(val.groups) == len(val.y)


def test_a_logistic_head_imports_neither_torch_nor_mlflow(trained):
    folder = trained(kind="logistic")
    code = (
        "import sys; from stages import train_head; train_head.main(); "
        "sys.exit(', '.join({'torch', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert done.stdout.startswith("train_head: logistic regression, ")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kind": "svm"}, "`train_head.kind` should be 'auto', 'lda', 'logistic', 'prototype' or 'mlp', got 'svm'"),
        ({"l2_grid": []}, "`train_head.l2_grid`"),
        ({"num_folds": 1}, "`train_head.num_folds` must be 0 or at least 2"),
        ({"l2_grid": [1.0, 0.0]}, "`train_head.l2_grid.1` should be greater than 0, got 0.0"),
        ({"class_weight": "auto"}, "`train_head.class_weight` should be 'none' or 'balanced', got 'auto'"),
    ],
)
def test_a_mistake_is_one_line(trained, params, message):
    with pytest.raises(SystemExit) as stop:
        trained(**params)
    assert message in str(stop.value)
    assert "\n" not in str(stop.value)


def test_scores_by_hand():
    layer = (np.array([[0], [np.log(3)]], dtype=np.float32), np.zeros(2, dtype=np.float32))
    head = Head(kind="logistic", classes=("a", "b"), layers=(layer,))
    train, val = feature_set([1, 1], [0, 1], ("a", "b")), feature_set([1, 1, 1, -1], [1, 1, 1, 1], ("a", "b"))
    assert train_head.scores(head, train, val) == {  # p(b) is 3/4 at 1 and 1/4 at -1
        "val_accuracy": 0.75,
        "val_log_loss": round((3 * np.log(4 / 3) + np.log(4)) / 4, 6),
        "train_accuracy": 0.5,
        "train_log_loss": round((np.log(4) + np.log(4 / 3)) / 2, 6),
        "num_train": 2,
        "num_val": 4,
        "num_unlabelled": 0,
        "num_features": 1,
    }


def test_images_without_labels_give_few_labels_their_directions(trained):
    folder = trained(kind="lda")
    before = load_head(folder / "data/head")
    _, x = read_features(folder / "data/features.safetensors")
    write_features(ids_of(len(x), start=5000), x + 1, {"name": "tiny"}, folder / "data/unlabelled.safetensors")
    run("train_head", train_head.main)
    after = load_head(folder / "data/head")
    assert np.array_equal(before.softsign.bias, after.softsign.bias)  # features are standardised on the labelled ones
    assert not np.allclose(before.layers[0][0], after.layers[0][0])
    assert read_json(folder / "reports/train_head.json")["num_unlabelled"] == len(x)
