import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import evaluate, finetune, split, train_head
from stages.graft.artifacts import read_json, write_json
from stages.graft.errors import run
from tests.pipeline import write_pipeline_start

REPOSITORY = Path(__file__).resolve().parents[2]
FRACTIONS = {"seed": 0, "val_fraction": 0.25, "test_fraction": 0.25, "train_per_class": None}
OUTPUTS = [evaluate.METRICS, evaluate.PREDICTIONS, evaluate.CONFUSION, evaluate.PER_CLASS]


@pytest.fixture
def folder(project):
    """A project with a prototype head, ready to be evaluated."""
    folder = project(split=FRACTIONS, train_head={"kind": "prototype"}, finetune={"strategy": "none"})
    write_pipeline_start(folder)
    for name, stage in (("split", split), ("train_head", train_head), ("finetune", finetune)):
        run(name, stage.main)
    return folder


@pytest.fixture
def published(monkeypatch):
    """Calls of tracking, which has tests of its own: each is the outputs that were there."""
    calls = []
    monkeypatch.setattr(evaluate, "publish", lambda: calls.append([path.exists() for path in OUTPUTS]))
    return calls


def test_the_test_split_is_scored_and_published_last(folder, published, capsys):
    run("evaluate", evaluate.main)
    record = read_json(folder / "reports/metrics.json")
    predictions = pd.read_csv(folder / "reports/predictions.csv", dtype=str, keep_default_na=False)
    splits = pd.read_csv(folder / "data/splits.csv", dtype=str, keep_default_na=False)
    assert predictions["id"].to_list() == sorted(splits["id"][splits["split"] == "test"])
    assert record["num_test"] == len(predictions) == 9
    right = predictions["label"] == predictions["predicted"]
    assert record["accuracy"] == round(float(right.mean()), 6) > 0.7
    assert predictions["file"].str.endswith(" ü.png").all()
    assert published == [[True] * 4]
    assert f"9 test images, accuracy {record['accuracy']:.1%} (95% interval" in capsys.readouterr().out


def test_a_second_run_writes_the_same_bytes(folder, published):
    run("evaluate", evaluate.main)
    first = [path.read_bytes() for path in OUTPUTS]
    run("evaluate", evaluate.main)
    assert [path.read_bytes() for path in OUTPUTS] == first


def test_a_frozen_model_needs_neither_torch_nor_scikit_learn(folder):
    code = (
        "import sys; from stages import evaluate; evaluate.publish = lambda: None; evaluate.main(); "
        "sys.exit(', '.join({'torch', 'sklearn', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_a_finetuned_model_is_scored_from_its_images(folder, published, monkeypatch):
    record = read_json(folder / "data/model/model.json")
    write_json(record | {"kind": "finetuned"}, folder / "data/model/model.json")
    asked = []

    def network_logits(manifest, ids):
        asked.extend(ids)
        return np.tile(np.array([9, 0, 0], dtype=np.float32), (len(ids), 1))

    monkeypatch.setattr(evaluate, "network_logits", network_logits)
    run("evaluate", evaluate.main)
    predictions = pd.read_csv(folder / "reports/predictions.csv", dtype=str, keep_default_na=False)
    assert asked == predictions["id"].to_list()
    assert set(predictions["predicted"]) == {"007"}


def test_a_missing_model_is_one_line(folder, published):
    (folder / "data/model/model.json").unlink()
    with pytest.raises(SystemExit, match=r"evaluate: error: data/model/model.json cannot be read"):
        run("evaluate", evaluate.main)
    assert published == []
