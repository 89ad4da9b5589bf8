"""Finetune, run as a stage: a model is assembled, whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from stages import finetune
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.stage import run
from stages.graft.data.manifest import read_manifest
from stages.graft.data.splits import extend_table
from stages.graft.heads.head import Head, load_head, save_head
from stages.graft.model.model_folder import read_model
from stages.graft.storage.files import read_json
from tests.conftest import REPOSITORY
from tests.support.pictures import class_folder

BACKBONE = BackboneParams(name="shufflenet_v2_x0_5", weights="random", sha256=None, input_px=32)
CLASSES = ("hole", "scratch")


@pytest.fixture
def assembled(project, monkeypatch, tmp_path):
    """Run the stage on ten small images and a head fitted to nothing; give the project's folder."""
    from stages import ingest

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # no server answers there
    class_folder(tmp_path / "plates", 5, CLASSES)

    def run_stage(offline=False, **params):
        folder = project(
            ingest={"source": str(tmp_path / "plates"), "sha256": None}, finetune=params, backbone={"offline": offline}
        )
        if not (folder / "data/manifest.csv").exists():
            run("ingest", ingest.main)
            manifest = read_manifest(folder / "data/manifest.csv")
            place = manifest.groupby("label").cumcount()
            splits = pd.Series(np.where(place < 3, "train", np.where(place < 4, "val", "test")))
            extend_table(folder / "data/manifest.csv", folder / "data/splits.csv", split=splits)
            weight = np.random.default_rng(0).normal(size=(2, 1024)).astype(np.float32) / 10
            head = Head(kind="logistic", classes=CLASSES, layers=((weight, np.zeros(2, np.float32)),))
            save_head(head, folder / "data/head", find_weights(BACKBONE, folder).to_record())
        run("finetune", finetune.main)
        return folder

    return run_stage


def model_files(folder):
    return {path.name: path.read_bytes() for path in (folder / "data/model").iterdir()}


def test_none_puts_the_head_and_its_record_together(assembled, capsys):
    folder = assembled(strategy="none")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "finetune: off (`finetune.strategy: none`); the model is the head on the pretrained network"
    )
    assert sorted(model_files(folder)) == ["head.safetensors", "model.json"]
    assert model_files(folder)["head.safetensors"] == (folder / "data/head/head.safetensors").read_bytes()
    model, _ = read_model(folder / "data/model")
    assert (model.kind, model.classes, model.backbone["name"]) == ("frozen", CLASSES, BACKBONE.name)
    assert read_json(folder / "reports/finetune.json") == {"strategy": "none"}
    assert (folder / "reports/plots/finetune_curve.csv").read_text() == "epoch,split,loss,accuracy\n"
    assert (folder / "reports/plots/forgetting.csv").read_text() == "block,num_weights,change,norm,distance\n"


def test_full_trains_both_and_reports_the_epoch_it_kept(assembled, capsys):
    folder = assembled(strategy="full", epochs=2, batch_size=4, learning_rate=1.0e-2, keep="always")
    model, head = read_model(folder / "data/model")
    assert (model.kind, head.classes) == ("finetuned", CLASSES)
    assert sorted(model_files(folder)) == [
        "backbone.safetensors",
        "frozen_head.safetensors",
        "head.safetensors",
        "model.json",
    ]
    assert model_files(folder)["frozen_head.safetensors"] == (folder / "data/head/head.safetensors").read_bytes()
    report = read_json(folder / "reports/finetune.json")
    assert list(report)[:2] == ["strategy", "kept"]
    assert report["kept"] == "fine-tuned"
    curve = pd.read_csv(folder / "reports/plots/finetune_curve.csv")
    assert list(zip(curve["epoch"], curve["split"], strict=True)) == [
        (0, "val"), (1, "train"), (1, "val"), (2, "train"), (2, "val"),
    ]  # fmt: skip
    assert "cka" not in report  # measured only when it is asked for
    blocks = pd.read_csv(folder / "reports/plots/forgetting.csv")
    assert blocks.columns.tolist() == finetune.UNMOVED.columns.tolist()
    assert blocks["block"].tolist()[:2] == ["conv1.0", "conv1.1"]
    assert (blocks["distance"] > 0).all()
    printed = capsys.readouterr()
    assert "finetune: epoch 2: validation " in printed.out
    assert printed.out.splitlines()[-1].startswith("finetune: kept, as `finetune.keep: always` asks: validation ")
    assert "finetune runs unwatched" in printed.err


def test_training_twice_gives_the_same_bytes(assembled):
    params = {"strategy": "full", "epochs": 1, "batch_size": 4, "learning_rate": 1.0e-3, "keep": "always"}
    first = model_files(assembled(**params))
    assert model_files(assembled(**params)) == first


def test_weights_that_are_not_better_beyond_chance_are_not_kept(assembled):
    frozen = model_files(assembled(strategy="none"))
    folder = assembled(strategy="full", epochs=1, batch_size=4)  # two validation images prove nothing
    assert read_json(folder / "reports/finetune.json")["kept"] == "head-only"
    assert model_files(folder) == frozen


def test_what_was_forgotten_is_measured_when_asked_for(assembled, capsys):
    folder = assembled(strategy="full", epochs=1, batch_size=4, measure_forgetting=True)
    report = read_json(folder / "reports/finetune.json")
    assert report["forgetting_num_images"] == 2
    assert 0 < report["cka"] <= 1
    assert "gives its pretraining's answers as before for" in capsys.readouterr().out


def test_a_wrong_block_lists_those_there_are(assembled):
    with pytest.raises(SystemExit, match=r"`finetune.unfreeze_from`: no block 'layer9'; there are conv1.0, .*stage4.3"):
        assembled(strategy="partial", unfreeze_from="layer9")


def test_going_back_to_none_leaves_no_trained_backbone(assembled):
    frozen = model_files(assembled(strategy="none"))
    assembled(strategy="full", epochs=1, batch_size=4)
    assert model_files(assembled(strategy="none")) == frozen


def test_a_failure_leaves_the_last_model_alone(assembled):
    folder = assembled(strategy="none")
    before = model_files(folder)
    damaged = sorted((folder / "data/images").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:40])
    splits = pd.Series(["train"] * 9 + ["val"])
    extend_table(folder / "data/manifest.csv", folder / "data/splits.csv", split=splits)
    with pytest.raises(SystemExit, match=rf"^finetune: error: data/images/{damaged.name}/") as caught:
        assembled(strategy="full", epochs=1)
    assert "\n" not in str(caught.value)
    assert model_files(folder) == before
    assert not list(folder.rglob("*.tmp"))


def test_an_exploding_rate_ends_with_advice_and_the_last_model_as_it_was(assembled):
    before = model_files(assembled(strategy="none"))
    with pytest.raises(
        SystemExit, match=r"^finetune: error: epoch 1: the loss is not finite; lower `finetune.learning_rate`"
    ):
        assembled(strategy="full", epochs=1, learning_rate=1.0e30, warmup_epochs=0, keep="always")
    folder = assembled(strategy="none")
    assert model_files(folder) == before
    assert not list(folder.rglob("*.tmp"))


def test_wrong_source_images_are_refused_before_anything_is_trained(assembled, capsys, tmp_path):
    folder = assembled(strategy="none")
    before = model_files(folder)
    with pytest.raises(SystemExit, match=r"^finetune: error: source nowhere does not exist"):
        assembled(strategy="full", epochs=1, source_images="nowhere")
    message = r"^finetune: error: `finetune\.source_images`: 2 classes, but the output layer of .* scores 1000"
    with pytest.raises(SystemExit, match=message):
        assembled(strategy="full", epochs=1, source_images=str(tmp_path / "plates"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"^finetune: error: .*empty"):
        assembled(strategy="full", epochs=1, source_images=str(tmp_path / "empty"))
    assert "epoch" not in capsys.readouterr().out
    assert model_files(folder) == before


def test_offline_never_asks_the_network_for_weights(assembled):
    folder = assembled(strategy="none")
    record = find_weights(BACKBONE, folder).to_record() | {"weights": "IMAGENET1K_V1", "sha256": "0" * 64}
    save_head(load_head(folder / "data/head"), folder / "data/head", record)
    with pytest.raises(SystemExit, match=r"^finetune: error: .*`backbone\.offline` is true"):
        assembled(offline=True, strategy="full", epochs=1)


def started(folder, until):
    """The stage as a process of its own, once it has printed something."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.finetune"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
    )  # fmt: skip
    seen = []
    while not seen or (seen[-1] and until not in seen[-1]):
        seen.append(process.stdout.readline())
    assert until in seen[-1], process.communicate()[1]
    return process


@pytest.mark.rare
def test_ctrl_c_ends_training_soon_and_the_next_run_goes_on(assembled, tmp_path, monkeypatch):
    folder = assembled(strategy="none")
    before = model_files(folder)
    with monkeypatch.context() as patch:  # the long parameters are for the process alone
        patch.setattr(finetune, "main", lambda: None)
        assembled(strategy="full", epochs=10**6, batch_size=4)
    process = started(folder, "epoch 2:")
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 10  # two seconds on a machine that does nothing else
    assert process.returncode == 130
    assert "Traceback" not in errors
    said = "finetune: interrupted; nothing half-written is left, `dvc repro` goes on from here"
    assert errors.splitlines()[-1] == said
    (state,) = (tmp_path / "store/finetuning").iterdir()
    assert state.suffix == ".safetensors"
    assert model_files(folder) == before
    again = started(folder, "resuming after epoch ")
    again.kill()
    again.communicate()
    assert model_files(folder) == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"strategy": "half"}, r"`finetune\.strategy` should be 'none', 'partial' or 'full', got 'half'"),
        ({"epochs": 0}, r"`finetune\.epochs` should be greater than 0, got 0"),
        ({"learning_rate": "high"}, r"`finetune\.learning_rate` should be a valid number, got 'high'"),
        ({"weight_decay": -1.0}, r"`finetune\.weight_decay` should be greater than or equal to 0"),
        ({"warmup": 1}, r"`finetune\.warmup` is not a parameter"),
    ],
)
def test_wrong_parameters_are_named(assembled, params, message):
    with pytest.raises(SystemExit, match=rf"^finetune: error: params\.yaml: {message}"):
        assembled(**params)


def test_without_a_head_the_message_names_it(assembled):
    shutil.rmtree(assembled(strategy="none") / "data/head")
    with pytest.raises(SystemExit, match=r"^finetune: error: data/head/head\.safetensors .*dvc repro"):
        assembled(strategy="none")


def test_every_parameter_has_a_description():
    assert all(field.description for field in finetune.FinetuneParams.model_fields.values())
