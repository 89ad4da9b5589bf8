import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from stages import evaluate, split, train_head
from stages.graft.backbone.weights import weights_from_record
from stages.graft.core.stage import run
from stages.graft.data.splits import extend_table, read_splits
from stages.graft.heads.features import read_features
from stages.graft.heads.head import load_head
from stages.graft.model.decision import load_rule
from stages.graft.model.model_folder import write_model
from stages.graft.model.scoring import score_known
from stages.graft.storage.files import read_json, write_json
from stages.graft.tracking.run_state import METRICS
from tests.conftest import REPOSITORY
from tests.support.exploration import write_baselines
from tests.support.features import write_features
from tests.support.pipeline import write_pipeline_start

FRACTIONS = {
    "seed": 0,
    "keep_duplicates_together": True,
    "val_fraction": 0.25,
    "test_fraction": 0.25,
    "train_per_class": None,
}
PLOTS = [evaluate.REPORTS / f"plots/{name}.csv" for name in ("confusion", "per_class", "reliability", "risk_coverage")]
DECISION = [evaluate.BUNDLE / name for name in ("decision.json", "novelty.safetensors")]
NAMES = ("metrics.json", "headline.json", "gate.json", "verdict.json", "predictions.csv", "baselines.csv")
REPORTS = [evaluate.REPORTS / name for name in NAMES]
OUTPUTS = [*REPORTS, *PLOTS, *DECISION]


@pytest.fixture
def folder(project, bundle_folder, monkeypatch):
    """A project with a prototype head, ready to be evaluated; its network has been converted before."""
    monkeypatch.setenv("GRAFT_STORE", str(bundle_folder.parent / "store"))
    folder = project(split=FRACTIONS, train_head={"kind": "prototype"}, evaluate={"target_accuracy": 0.9})
    write_pipeline_start(folder)
    for name, stage in (("split", split), ("train_head", train_head)):
        run(name, stage.main)
    backbone = read_json(bundle_folder / "model.json")["backbone"]
    write_model(load_head(folder / "data/head"), backbone, folder / "data/model")
    shutil.copytree(bundle_folder.parent / "evidence", folder / "data/evidence")
    write_baselines(folder)
    return folder


def test_the_test_split_is_scored(folder, capsys):
    run("evaluate", evaluate.main)
    record = read_json(folder / "reports/metrics.json")
    predictions = pd.read_csv(folder / "reports/predictions.csv", dtype=str, keep_default_na=False)
    splits = pd.read_csv(folder / "data/splits.csv", dtype=str, keep_default_na=False)
    assert predictions["id"].to_list() == sorted(splits["id"][splits["split"] == "test"])
    assert record["num_test"] == len(predictions) == 9
    right = predictions["label"] == predictions["predicted"]
    assert record["accuracy"] == round(float(right.mean()), 6) > 0.7
    assert record["majority_accuracy"] == 0.333333
    assert record["coverage"] == round(float((predictions["unsure"] == "False").mean()), 6)
    assert record["false_alarms"] == round(float((predictions["unknown"] == "True").mean()), 6)
    assert record["num_known_groups"] == 27  # train and val
    assert record["unseen_auroc"] > 0.9
    assert all(value is None or isinstance(value, float | int) for value in record.values())
    assert predictions["file"].str.endswith(" ü.png").all()
    comparison = pd.read_csv(folder / "reports/baselines.csv")
    assert comparison[["name", "accuracy"]].to_numpy().tolist() == [
        ["model", record["accuracy"]],
        *([name, 0.333333] for name in ("majority", "pixels", "neighbours")),
    ]
    assert all(path.exists() for path in OUTPUTS)
    headline = read_json(folder / "reports/headline.json")
    assert list(headline) == ["accuracy", "accuracy_low", "balanced_accuracy", "lowest_recall", "answered", "log_loss"]
    assert headline.items() >= {name: record[name] for name in ("accuracy", "log_loss")}.items()
    reports = {"metrics": record, "headline": headline, "verdict": read_json(folder / "reports/verdict.json")}
    assert not [key for name, key in METRICS.values() if name in reports and key not in reports[name]]
    assert f"evaluate: {record['accuracy']:.1%} of 9 test images right (95% interval" in capsys.readouterr().out


def test_the_gate_is_held_against_what_is_reported(folder, project):
    run("evaluate", evaluate.main)
    metrics, gate = read_json(folder / "reports/metrics.json"), read_json(folder / "reports/gate.json")
    assert gate["accuracy_low"] == metrics["accuracy_low"] < 0.9
    assert not gate["passed"]
    assert any(reason.startswith("Accuracy may be as low as ") for reason in gate["reasons"])
    per_class = pd.read_csv(folder / "reports/plots/per_class.csv")
    assert gate["lowest_recall"] == per_class["recall"].min()
    low = {"min_accuracy": metrics["accuracy_low"], "min_recall": None, "max_leaked": 0, "beat_baselines": False}
    project(split=FRACTIONS, evaluate={"target_accuracy": 0.9, "gate": low})
    run("evaluate", evaluate.main)
    assert read_json(folder / "reports/gate.json")["passed"]


def test_images_that_leak_are_counted_and_refused(folder):
    splits = read_splits(folder / "data/splits.csv", ("id", "split"))["split"]
    twins = [int((splits == "test").idxmax()), int((splits == "train").idxmax())]
    names = pd.Series("", splits.index).where(~splits.index.isin(twins), "twins")
    for table in ("splits", "baselines"):
        extend_table(folder / f"data/{table}.csv", folder / f"data/{table}.csv", duplicates=names)
    run("evaluate", evaluate.main)
    metrics, gate = read_json(folder / "reports/metrics.json"), read_json(folder / "reports/gate.json")
    assert (metrics["num_leaked"], metrics["num_test"], metrics["num_test_groups"]) == (1, 9, 9)
    assert 0 <= metrics["accuracy_unleaked_low"] < metrics["accuracy_unleaked"] <= 1
    assert any("1 test image has a near-duplicate in train or validation" in reason for reason in gate["reasons"])


def test_test_images_decide_nothing(folder):
    run("evaluate", evaluate.main)
    before = [(folder / path).read_bytes() for path in DECISION]
    ids, x = read_features(folder / "data/features.safetensors")
    splits = pd.read_csv(folder / "data/splits.csv", dtype=str, keep_default_na=False)
    test = set(splits["id"][splits["split"] == "test"])
    x = np.where(np.isin(ids, list(test))[:, None], 7, x).astype(np.float32)
    write_features(ids, x, {"name": "tiny"}, folder / "data/features.safetensors")
    run("evaluate", evaluate.main)
    assert [(folder / path).read_bytes() for path in DECISION] == before


def test_a_second_run_writes_the_same_bytes(folder):
    run("evaluate", evaluate.main)
    first = [path.read_bytes() for path in OUTPUTS]
    run("evaluate", evaluate.main)
    assert [path.read_bytes() for path in OUTPUTS] == first


def test_a_frozen_model_needs_no_slow_library(folder):
    code = (
        "import sys; from stages import evaluate; evaluate.main(); "
        "sys.exit(', '.join({'torch', 'sklearn', 'scipy', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {"PYTHONPATH": str(REPOSITORY), "GRAFT_STORE": os.environ["GRAFT_STORE"]}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_a_finetuned_model_is_scored_from_its_images(folder, monkeypatch):
    record = read_json(folder / "data/model/model.json")
    (folder / "data/model/backbone.safetensors").write_bytes(b"weights")
    (folder / "data/head/head.safetensors").rename(folder / "data/model/frozen_head.safetensors")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    write_json(record | {"kind": "finetuned", "backbone_sha256": sha256}, folder / "data/model/model.json")
    asked = []
    frozen = weights_from_record(record["backbone"])
    monkeypatch.setattr(evaluate, "model_weights", lambda *_: frozen)

    def score_images(head, weights, runtime, ids, locate):
        asked.extend(ids)
        x = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
        return score_known(ids, x, np.tile(np.array([9, 0, 0], dtype=np.float32), (len(ids), 1)))

    monkeypatch.setattr(evaluate, "score_images", score_images)
    run("evaluate", evaluate.main)
    predictions = pd.read_csv(folder / "reports/predictions.csv", dtype=str, keep_default_na=False)
    assert set(predictions["predicted"]) == {"007"}
    assert len(asked) == len(set(asked)) == 36
    assert load_rule(folder / "data/bundle").detector.projection.shape[0] == 4
    verdict = read_json(folder / "reports/verdict.json")
    assert verdict["model"] == "finetuned"
    assert verdict["test_accuracy_after"] == 0.333333  # always 007
    assert verdict["test_accuracy_before"] > verdict["test_accuracy_after"]
    assert verdict["test_num_lost"] - verdict["test_num_gained"] == round(9 * -verdict["test_difference"])


@pytest.mark.parametrize("name", ["target_accuracy", "false_alarm_rate", "confidence_level"])
def test_a_share_must_lie_between_0_and_1(name, project):
    project(evaluate={name: 1.0})
    with pytest.raises(SystemExit, match=f"`evaluate.{name}` should be less than 1, got 1.0"):
        run("evaluate", evaluate.main)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/model/model.json", r"data/model/model.json cannot be read"),
        ("data/baselines.csv", r"data/baselines.csv does not exist; run `dvc repro`"),
        ("data/features.safetensors", r"data/features.safetensors"),
    ],
)
def test_a_missing_file_is_one_line(folder, path, message):
    (folder / path).unlink()
    with pytest.raises(SystemExit, match=f"evaluate: error: {message}"):
        run("evaluate", evaluate.main)
