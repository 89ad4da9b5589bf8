"""Compare_inputs, run as a stage: squash and pad see what a crop leaves out."""

import io

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stages.graft.backbone.runtime_choice import AUTOMATIC
from stages.graft.core.stage import run
from stages.pretraining import compare_inputs, strips, transfer_accuracy
from stages.pretraining.compare_inputs import cut
from stages.pretraining.transfer_accuracy import LabelledSet
from tests.conftest import REPOSITORY
from tests.support.bundles import SMALL_NETWORK, write_small_network
from tests.support.pictures import encoded, write


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Run the command on a few images and strips; give its table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(strips, "PER_CLASS", 8)
    monkeypatch.setattr(
        transfer_accuracy, "AUTOMATIC", AUTOMATIC.model_copy(update={"runtime": "torch"})
    )  # no conversion
    rng = np.random.default_rng(0)
    for label, ground in (("bright", 200), ("dark", 0)):
        for number in range(8):
            noise = (rng.integers(0, 55, (40, 40, 3)) + ground).astype(np.uint8)
            write(tmp_path / f"greys/{label}/{number}.png", encoded(Image.fromarray(noise), "PNG"))
    write_small_network(tmp_path / "data/backbones")
    params = yaml.safe_load((REPOSITORY / "data/backbones/params.yaml").read_text(encoding="utf-8"))
    dataset = {**params["compare_inputs"]["datasets"]["neu"], "source": "greys"}
    small = {"network": SMALL_NETWORK, "datasets": {"greys": dataset}, "shots": [None], "num_seeds": 2}
    params["compare_inputs"] |= small
    (tmp_path / "data/backbones/params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    run("compare_inputs", compare_inputs.main)
    return pd.read_csv(tmp_path / f"data/backbones/{SMALL_NETWORK}_inputs.csv")


def test_the_table_has_a_row_for_each_set_and_what_is_shown(compared):
    expected = [
        (name, *shown)
        for name in ("greys", "strips")
        for shown in (("crop", 1), ("squash", 1), ("pad", 1), ("crop", 4))
    ]
    assert list(zip(compared["dataset"], compared["fit"], compared["views"], strict=True)) == expected
    greys = compared[compared["dataset"] == "greys"].set_index(["fit", "views"])
    assert greys["accuracy"].tolist() == [1.0] * 4
    assert greys["gain"].tolist() == [0.0] * 4


def test_the_middle_of_every_strip_is_the_same_noise(tmp_path, monkeypatch):
    monkeypatch.setattr(strips, "PER_CLASS", 20)
    strips.write_strips(tmp_path)
    for label in ("good", "scratch"):
        for path in (tmp_path / label).iterdir():
            pixels = np.asarray(Image.open(path))
            assert pixels.shape == (64, 400)
            assert pixels[:, 168:232].min() > 60
            assert bool(pixels.min() == 10) is (label == "scratch")


@pytest.mark.parametrize("height", [0.4, 1.0])
def test_a_part_of_the_height_is_kept_at_a_place_that_the_id_draws(height):
    ramp = np.repeat(np.arange(50, dtype=np.uint8)[:, None], 20, axis=1)
    ids = [f"{number:064x}" for number in (0, 7, 31)]
    table = pd.DataFrame({"id": ids})
    kept = cut(LabelledSet(name="ramp", table=table, files=[encoded(Image.fromarray(ramp), "PNG")] * 3), height)
    rows = [np.asarray(Image.open(io.BytesIO(data)).convert("L"))[:, 0].tolist() for data in kept.files]
    tops = [0, 7, 0] if height < 1 else [0, 0, 0]  # 31 of 31 places is the first again
    assert rows == [list(range(top, top + round(50 * height))) for top in tops]
