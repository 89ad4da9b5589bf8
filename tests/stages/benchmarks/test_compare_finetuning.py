"""compare_finetuning, run as a script on a small network and two easy classes: real stages in a folder of their own."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stages.benchmarks import compare_finetuning
from stages.benchmarks.compare_finetuning import fresh_head
from stages.graft.core.stage import run
from stages.graft.heads.head import Head
from tests.conftest import REPOSITORY
from tests.support.bundles import SMALL_NETWORK, write_small_network
from tests.support.pictures import encoded, write

SMALL = {
    "split": {"val_fraction": 0.25, "test_fraction": 0.25},
    "backbone": {"name": SMALL_NETWORK},
    "extract": {"runtime": "torch"},
    "train_head": {"l2_grid": [1.0]},
    "finetune": {"epochs": 1, "batch_size": 8},
}


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
        section = {"source": "plates", "train_per_class": 4, "num_seeds": 1, "strategies": ["full"]} | changes
        (tmp_path / "data/backbones/params.yaml").write_text(
            yaml.safe_dump({"compare_finetuning": section}), encoding="utf-8"
        )
        return tmp_path

    return make


@pytest.mark.rare
def test_one_seed_gives_a_row_for_each_start_and_a_report(project, capsys):
    folder = project()
    run("compare_finetuning", compare_finetuning.main)
    rows = pd.read_csv(folder / "reports/finetuning.csv")
    assert list(zip(rows["strategy"], rows["start"], strict=True)) == [
        ("none", "trained"), ("full", "trained"), ("full", "fresh"),
    ]  # fmt: skip
    assert set(rows["num_test"]) == {10}
    assert rows["epoch"].tolist()[0] == 0
    assert not rows["validation_keeps_it"][0]
    assert (rows["gained"] - rows["lost"]).tolist() == pytest.approx(
        (10 * (rows["test_accuracy"] - rows["test_accuracy"][0])).tolist()
    )
    text = (folder / "reports/finetuning.md").read_text(encoding="utf-8")
    assert "plates: 4 training images per class, 10 to choose with, 10 to test on; means over 1" in text
    assert "| full | fresh head |" in text
    assert "epochs 1, " in text
    assert str(folder) not in text
    assert "compare_finetuning: seed 0, full from a fresh head: validation " in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["data", "params.yaml", "plates", "reports"]
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["backbones"]


def test_a_stages_own_words_end_it_and_nothing_is_written(project):
    folder = project(source="nowhere")
    with pytest.raises(SystemExit, match=r"^compare_finetuning: error: ingest: error: source nowhere does not exist"):
        run("compare_finetuning", compare_finetuning.main)
    assert not (folder / "reports").exists()


def test_a_fresh_head_knows_nothing_and_is_drawn_again_from_its_seed(rng):
    weight, bias = rng.normal(size=(3, 400)).astype(np.float32), np.ones(3, np.float32)
    head = Head(kind="logistic", classes=("a", "b", "c"), layers=((weight, bias),))
    first, again, other = fresh_head(head, 0), fresh_head(head, 0), fresh_head(head, 1)
    drawn = first.layers[0][0]
    assert (drawn.shape, drawn.dtype, first.classes) == ((3, 400), np.float32, head.classes)
    assert 0.049 < np.abs(drawn).max() <= 0.05
    assert abs(np.corrcoef(drawn.ravel(), weight.ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(drawn, again.layers[0][0])
    assert (drawn != other.layers[0][0]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ["none"]}, r"`compare_finetuning\.strategies\.0` should be 'partial' or 'full', got 'none'"),
        ({"num_seeds": 0}, r"`compare_finetuning\.num_seeds` should be greater than 0, got 0"),
    ],
)
def test_wrong_parameters_are_named(project, changes, message):
    project(**changes)
    with pytest.raises(SystemExit, match=rf"^compare_finetuning: error: .*{message}"):
        run("compare_finetuning", compare_finetuning.main)
