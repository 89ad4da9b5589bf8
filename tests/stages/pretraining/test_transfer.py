"""Transfer, run as a stage: one table of accuracies for the bundled network, a random one and grey pixels."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stages.graft.core.stage import run
from stages.pretraining import transfer
from tests.conftest import REPOSITORY
from tests.support.bundles import SMALL_NETWORK, write_small_network
from tests.support.pictures import encoded, write


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a folder with a bundled network, two classes as easy as black and white, and the real parameters made small.

    `project(num_seeds=3)` changes transfer.num_seeds.
    """
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, ground in (("bright", 200), ("dark", 0)):
        for number in range(8):
            noise = rng.integers(0, 55, (20, 24, 3)) + ground
            write(tmp_path / f"plates/{label}/{number}.png", encoded(Image.fromarray(noise.astype(np.uint8)), "PNG"))
    write_small_network(tmp_path / "data/backbones")

    def make(**changes):
        params = yaml.safe_load((REPOSITORY / "data/backbones/params.yaml").read_text(encoding="utf-8"))
        plates = {"source": "plates", "val_fraction": 0.15, "test_fraction": 0.25}
        small = {
            "datasets": {"plates": plates},
            "fit": "crop",
            "networks": [SMALL_NETWORK],
            "heads": ["lda", "prototype"],
        }
        params["transfer"] = small | {"views": [1, 4], "shots": [2, None], "num_seeds": 2} | changes
        shutil.copy(REPOSITORY / "params.yaml", tmp_path)
        (tmp_path / "data/backbones/params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        return tmp_path

    return make


def test_the_table_has_a_row_for_each_set_features_and_shots(project, capsys):
    folder = project()
    run("transfer", transfer.main)
    path = folder / f"data/backbones/{SMALL_NETWORK}_transfer.csv"
    table = pd.read_csv(path, dtype={"train_per_class": str})
    keys = ["network", "weights", "views", "head"]
    assert table.columns.tolist() == ["dataset", *keys, "train_per_class", "accuracy", "std", "log_loss", "seeds"]
    assert [tuple(row) for row in table[keys].fillna("").to_numpy()[::2]] == [
        (SMALL_NETWORK, "bundled", 1, "lda"),
        (SMALL_NETWORK, "bundled", 1, "prototype"),
        (SMALL_NETWORK, "bundled", 4, "lda"),
        (SMALL_NETWORK, "random", 1, "lda"),
        ("pixels", "", 1, "lda"),
    ]
    assert table["train_per_class"].tolist() == ["2", "all"] * 5
    assert (folder / "reports/few_shot.csv").read_bytes() == path.read_bytes()
    assert set(table["dataset"]) == {"plates"}
    assert set(table["seeds"]) == {2}
    assert table["accuracy"].between(0, 1).all()
    pixels = table[table["network"] == "pixels"]
    assert pixels["accuracy"].tolist() == [1.0, 1.0]
    assert pixels["std"].tolist() == [0.0, 0.0]
    assert "transfer: dataset plates, network pixels, weights , views 1, head lda, train" in capsys.readouterr().out
    first = path.read_bytes()
    run("transfer", transfer.main)
    assert path.read_bytes() == first


def test_one_seed_has_no_spread(project):
    folder = project(num_seeds=1, shots=[None], networks=[])
    run("transfer", transfer.main)
    assert pd.read_csv(folder / "reports/few_shot.csv")["std"].tolist() == [0.0]


def test_a_missing_set_ends_in_one_line_and_no_table(project):
    sources = {"plates": "plates", "steel": "nowhere"}
    datasets = {
        name: {"source": source, "val_fraction": 0.15, "test_fraction": 0.25} for name, source in sources.items()
    }
    folder = project(datasets=datasets, networks=[])
    with pytest.raises(SystemExit, match=r"^transfer: error: source nowhere does not exist"):
        run("transfer", transfer.main)
    assert not (folder / f"data/backbones/{SMALL_NETWORK}_transfer.csv").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": [0]}, r"data/backbones/params\.yaml: `transfer\.shots\.0` should be greater than 0, got 0"),
        ({"views": [3]}, r"`transfer\.views\.0` should be 1 or 4, got 3"),
        ({"heads": ["mlp"]}, r"`transfer\.heads\.0` should be 'auto', 'lda', 'logistic' or 'prototype', got 'mlp'"),
        ({"sets": {}}, r"`transfer\.sets` is not a parameter"),
    ],
)
def test_wrong_parameters_are_named(project, changes, message):
    project(**changes)
    with pytest.raises(SystemExit, match=rf"^transfer: error: .*{message}"):
        run("transfer", transfer.main)
