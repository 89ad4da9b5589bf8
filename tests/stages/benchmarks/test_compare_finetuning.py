"""compare_finetuning: draws, rule and table against computed values, and the script on a small network."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stages.benchmarks import compare_finetuning
from stages.benchmarks.compare_finetuning import is_worse, report_row
from stages.benchmarks.finetune_trials import draw_images
from stages.graft.core.stage import run
from tests.conftest import REPOSITORY
from tests.support.bundles import SMALL_NETWORK, write_small_network
from tests.support.pictures import encoded, write

SMALL = {
    "backbone": {"name": SMALL_NETWORK},
    "train_head": {"kind": "logistic", "l2_grid": [1.0]},
    "finetune": {"epochs": 1, "batch_size": 4, "precision": "fp32"},
}


def test_a_draw_has_so_many_of_each_class_and_the_others_are_held_out():
    y = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1, 1])
    draw, again, other = (draw_images(y, 2, 1, seed) for seed in (3, 3, 4))
    assert np.bincount(y[draw.train]).tolist() == [2, 2]
    assert np.bincount(y[draw.val]).tolist() == [1, 1]
    assert sorted([*draw.train, *draw.val, *draw.test]) == list(range(10))
    assert draw.test.tolist() == again.test.tolist() != other.test.tolist()


def test_a_row_counts_what_is_kept_and_what_is_worse():
    gained, lost = [8, 0, 1], [0, 8, 1]  # in turn: kept; worse beyond chance, and not kept; neither
    trials = pd.DataFrame(
        {
            "dataset": "plates", "setting": "small", "train_per_class": 5, "val_per_class": 3, "num_test": 100,
            "val_refitted_gained": gained, "val_refitted_lost": lost, "val_refitted_change": [-0.1, 0.1, -0.1],
            "val_refitted_change_std": 0.1, "num_val": 30,
            "test_refitted_gained": gained, "test_refitted_lost": lost,
            "test_frozen_right": 80, "test_refitted_right": [88, 72, 80], "test_trained_right": 75,
        }
    )  # fmt: skip
    assert report_row(trials) == {
        "data set": "plates", "setting": "small", "to train, to choose": "5, 3", "draws": "3", "head alone": "80.0%",
        "fine-tuned": "80.0%", "with the trained head": "75.0%", "worse beyond chance": "1", "kept": "1",
        "kept, worse beyond chance": "0", "the model that is kept": "82.7%",
    }  # fmt: skip
    assert (is_worse(0, 6), is_worse(0, 5), is_worse(6, 0)) == (True, False, False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a folder with a bundled network, forty images, and the real parameters made small."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(40):
        label, ground = ("bright", 40) if number % 2 else ("dark", 0)
        noise = rng.integers(0, 200, (20, 24, 3)) + ground
        write(tmp_path / f"plates/{label}/{number}.png", encoded(Image.fromarray(noise.astype(np.uint8)), "PNG"))
    write_small_network(tmp_path / "data/backbones")

    def make(**changes):
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
        params = {name: values | SMALL.get(name, {}) for name, values in params.items()}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        section = {
            "datasets": {"plates": {"source": "plates", "augmentation": "grain"}}, "draws": [[4, 2]],
            "first_seed": 0, "num_seeds": 1,
            "settings": {"all": {"strategy": "full"}, "last": {"unfreeze_from": 1}}, "workers": 1, "minutes": 5.0,
        }  # fmt: skip
        (tmp_path / "data/backbones/params.yaml").write_text(
            yaml.safe_dump({"compare_finetuning": section | changes}), encoding="utf-8"
        )
        return tmp_path

    return make


@pytest.mark.rare
def test_each_setting_has_a_row_and_a_second_run_adds_those_that_are_missing(project, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare_finetuning"])
    folder = project()
    run("compare_finetuning", compare_finetuning.main)
    first = pd.read_csv(folder / "reports/finetuning.csv")
    assert list(first["setting"]) == ["all", "last"]
    assert (first["num_val"].tolist(), first["num_test"].tolist()) == ([4, 4], [28, 28])
    project(num_seeds=2)
    run("compare_finetuning", compare_finetuning.main)
    second = pd.read_csv(folder / "reports/finetuning.csv")
    assert second["seed"].tolist() == [0, 0, 1, 1]
    assert second[second["seed"] == 0].reset_index(drop=True).equals(first)
    assert "| plates | last | 4, 2 | 2 |" in (folder / "reports/finetuning.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 0}, r"`compare_finetuning\.num_seeds` should be greater than 0, got 0"),
        ({"draws": [[0, 1]]}, r"`compare_finetuning\.draws\.0\.0` should be greater than 0, got 0"),
    ],
)
def test_wrong_parameters_are_named(project, monkeypatch, changes, message):
    monkeypatch.setattr("sys.argv", ["compare_finetuning"])
    project(**changes)
    with pytest.raises(SystemExit, match=rf"^compare_finetuning: error: .*{message}"):
        run("compare_finetuning", compare_finetuning.main)
