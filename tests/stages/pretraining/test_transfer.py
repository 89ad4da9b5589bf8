"""Transfer, run as a stage: one table of accuracies for the bundled network, a random one and grey pixels."""

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
        params["pretrain"]["name"] = SMALL_NETWORK
        small = {"datasets": {"plates": "plates"}, "shots": [2, None], "num_seeds": 2, "l2_grid": [1.0]}
        params["transfer"] = small | changes
        (tmp_path / "data/backbones/params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        return tmp_path

    return make


def test_the_table_has_a_row_for_each_set_features_and_shots(project, capsys):
    folder = project()
    run("transfer", transfer.main)
    path = folder / f"data/backbones/{SMALL_NETWORK}_transfer.csv"
    table = pd.read_csv(path, dtype={"train_per_class": str})
    assert table.columns.tolist() == ["dataset", "features", "train_per_class", "accuracy", "std", "seeds"]
    keys = [(kind, shots) for kind in ("bundled", "random", "pixels") for shots in ("2", "all")]
    assert list(zip(table["features"], table["train_per_class"], strict=True)) == keys
    assert set(table["dataset"]) == {"plates"}
    assert set(table["seeds"]) == {2}
    assert table["accuracy"].between(0, 1).all()
    pixels = table[table["features"] == "pixels"]
    assert pixels["accuracy"].tolist() == [1.0, 1.0]
    assert pixels["std"].tolist() == [0.0, 0.0]
    assert "transfer: plates, pixels, 2 per class: 100.0% ± 0.0%" in capsys.readouterr().out
    first = path.read_bytes()
    run("transfer", transfer.main)
    assert path.read_bytes() == first


def test_one_seed_has_no_spread(project):
    folder = project(num_seeds=1, shots=[None])
    run("transfer", transfer.main)
    table = pd.read_csv(folder / f"data/backbones/{SMALL_NETWORK}_transfer.csv")
    assert table["std"].tolist() == [0.0] * 3


def test_a_missing_set_ends_in_one_line_and_no_table(project):
    folder = project(datasets={"plates": "plates", "steel": "nowhere"})
    with pytest.raises(SystemExit, match=r"^transfer: error: source nowhere does not exist"):
        run("transfer", transfer.main)
    assert not (folder / f"data/backbones/{SMALL_NETWORK}_transfer.csv").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": [0]}, r"data/backbones/params\.yaml: `transfer\.shots\.0` should be greater than 0, got 0"),
        ({"l2_grid": ["1e-3"]}, r"`transfer\.l2_grid\.0` should be a valid number, got '1e-3' \(YAML reads"),
        ({"sets": {}}, r"`transfer\.sets` is not a parameter"),
    ],
)
def test_wrong_parameters_are_named(project, changes, message):
    project(**changes)
    with pytest.raises(SystemExit, match=rf"^transfer: error: .*{message}"):
        run("transfer", transfer.main)
