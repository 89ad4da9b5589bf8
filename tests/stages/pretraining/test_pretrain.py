"""The backbone's recipe: a killed run, resumed, ends with the bytes of one that is not interrupted."""

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.graft.backbone.weights import BackboneParams, find_weights
from tests.conftest import REPOSITORY

NAME = "shufflenet_v2_x0_5"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A folder with three classes of eight images and the real parameters, made small."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("a", "b", "c"):
            folder = tmp_path / "source" / split / label
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    params = yaml.safe_load((REPOSITORY / "data/backbones/params.yaml").read_text(encoding="utf-8"))["pretrain"]
    params |= {"name": NAME, "source": "source/train", "validation": "source/val", "epochs": 3, "batch_size": 8}
    params |= {"image_px": 16, "input_px": 32, "validation_px": 32, "sizes_px": [32, 48]}
    (tmp_path / "data/backbones").mkdir(parents=True)
    (tmp_path / "data/backbones/params.yaml").write_text(yaml.safe_dump({"pretrain": params}))
    return tmp_path


def start(folder: Path, store: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GRAFT_STORE": str(folder / store)}
    command = [sys.executable, "-m", "stages.pretraining.pretrain"]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def product(folder: Path) -> tuple[bytes, ...]:
    return tuple((folder / "data/backbones" / f"{NAME}{end}").read_bytes() for end in (".safetensors", ".json"))


@pytest.mark.rare
def test_a_killed_training_continues_and_ends_with_the_same_bytes(recipe: Path):
    with start(recipe, "store") as first:
        assert first.stderr is not None
        for line in first.stderr:
            if line.startswith("epoch 1 "):  # its checkpoint is written
                first.send_signal(signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    assert not (recipe / "data/backbones" / f"{NAME}.safetensors").exists()
    _, resumed = start(recipe, "store").communicate()
    assert "epoch 1 " not in resumed
    assert "epoch 2 " in resumed
    killed = product(recipe)

    _, uninterrupted = start(recipe, "another-store").communicate()
    assert "epoch 1 " in uninterrupted
    assert product(recipe) == killed

    record = json.loads(killed[1])
    assert record["sha256"] == sha256(killed[0]).hexdigest()
    assert (record["num_train"], record["num_classes"]) == (24, 3)
    params = BackboneParams(name=NAME, weights="bundled", sha256=None, input_px=None)
    assert find_weights(params, recipe / "data/backbones").preprocessing.crop_px == 32


def test_a_missing_source_ends_with_one_line(recipe: Path):
    path = recipe / "data/backbones/params.yaml"
    path.write_text(path.read_text().replace("source/train", "elsewhere"))
    process = start(recipe, "store")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "elsewhere does not exist" in errors
