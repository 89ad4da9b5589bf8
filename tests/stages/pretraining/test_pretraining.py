"""Pretraining: the schedule by hand-computed values, and what ends it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.graft.core.errors import DataError
from stages.graft.core.params import load_params
from stages.graft.data.decoded_arrays import DecodedImages
from stages.pretraining import pretraining
from stages.pretraining.pretraining import PretrainParams, pretrain, score
from tests.conftest import REPOSITORY


def params(**changes: object) -> PretrainParams:
    fields = {
        "name": "shufflenet_v2_x0_5",
        "epochs": 1,
        "sizes_px": (32,),
        "validation_px": 32,
        "batch_size": 4,
        "learning_rate": 0.8,
        "warmup": 0.2,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "mixed_precision": False,
    }
    real = load_params("pretrain", PretrainParams, REPOSITORY / "data/backbones/params.yaml")
    return real.model_copy(update=fields | changes)


def images(rng: np.random.Generator, n: int = 8) -> DecodedImages:
    x = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return DecodedImages(x=x, y=np.arange(n) % 2, classes=("a", "b"))


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [params().learning_rate_at(step, 10) for step in range(10)]
    np.testing.assert_allclose(rates[:3], [0.4, 0.8, 0.8])
    assert rates[6] == pytest.approx(0.4)  # half of the falling steps are done
    assert rates[9] == pytest.approx(0.4 * (1 + math.cos(math.pi * 7 / 8)))
    assert params(warmup=0.0).learning_rate_at(0, 10) == pytest.approx(0.8)


def test_the_key_changes_with_what_determines_the_weights_alone():
    keys = [params(**changes).key for changes in ({}, {"seed": 1}, {"grey": 0.1}, {"sizes_px": (32, 64)})]
    assert len(set(keys)) == 4
    assert params(source="elsewhere", input_px=64).key == keys[0]


def test_score_counts_hits_and_averages_nats(monkeypatch):
    monkeypatch.setattr(pretraining, "SCORE_BATCH", 3)

    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.tensor([math.log(3.0), 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(x), 2)

    x, y = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 0, 0, 1])
    loss, accuracy = score(Fixed(), DecodedImages(x=x, y=y, classes=("a", "b")), 8)
    assert accuracy == 0.75
    assert loss == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4, rel=1e-4)


def test_training_lowers_the_loss_on_what_it_sees(rng: np.random.Generator, tmp_path: Path):
    y = np.arange(16) % 2
    x = (rng.integers(0, 60, (16, 16, 16, 3)) + 190 * y[:, None, None, None]).astype(np.uint8)  # dark and light
    source = DecodedImages(x=x, y=y, classes=("a", "b"))
    _, records = pretrain(source, source, params(epochs=6, batch_size=8, learning_rate=0.02), tmp_path)
    assert [record.epoch for record in records] == list(range(1, 7))
    assert records[-1].train_loss < records[0].train_loss


def test_an_exploding_rate_ends_with_advice(rng: np.random.Generator, tmp_path: Path):
    source = images(rng)
    with pytest.raises(DataError, match=r"lower `pretrain\.learning_rate`"):
        pretrain(source, source, params(learning_rate=1e30, warmup=0.0, epochs=3), tmp_path)


def test_fewer_images_than_a_batch_are_refused(rng: np.random.Generator, tmp_path: Path):
    source = images(rng, 3)
    with pytest.raises(DataError, match="3 training images are fewer than one batch of 4"):
        pretrain(source, source, params(), tmp_path)


def test_training_and_validation_must_have_the_same_classes(rng: np.random.Generator, tmp_path: Path):
    train = images(rng)
    val = DecodedImages(x=train.x, y=train.y, classes=("a", "c"))
    with pytest.raises(DataError, match="differ in 2 classes"):
        pretrain(train, val, params(), tmp_path)
