import subprocess
import sys

import pandas as pd
import pytest

from stages import explore, split
from stages.graft.core.stage import run
from stages.graft.storage.files import read_json
from tests.conftest import REPOSITORY
from tests.support.exploration import write_images
from tests.support.pipeline import write_pipeline_start

FRACTIONS = {"seed": 0, "val_fraction": 0.25, "test_fraction": 0.25, "train_per_class": None}
OUTPUTS = [explore.BASELINES, explore.REPORT, explore.LABEL_ERRORS, explore.MAP, explore.SHOTS]


@pytest.fixture
def explored(project):
    """Run the stage on made-up features and pictures; give the project's folder."""

    def run_stage(split_params=FRACTIONS, **params):
        folder = project(split=split_params, explore=params)
        write_pipeline_start(folder)
        write_images(folder)
        run("split", split.main)
        run("explore", explore.main)
        return folder

    return run_stage


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_every_table_is_there_and_belongs_to_the_same_images(explored, capsys):
    folder = explored()
    splits = read(folder / "data/splits.csv")
    baselines, places = read(folder / explore.BASELINES), read(folder / explore.MAP)
    test = splits["id"][splits["split"] == "test"].to_list()
    assert baselines[splits.columns].equals(splits)
    for name in ("majority", "pixels", "neighbours"):
        assert baselines["id"][baselines[name] != ""].to_list() == test
    tested = baselines[baselines["split"] == "test"]
    assert (tested["pixels"] == tested["label"]).mean() > 0.8  # each class has its shade
    assert places[["id", "label", "split"]].equals(splits[["id", "label", "split"]])
    assert (places["predicted"] == places["label"]).mean() > 0.8
    report = read_json(folder / explore.REPORT)
    assert report["num_images"] == report["num_images_on_map"] == 36
    assert report["cross_validated_accuracy"] == round(float((places["predicted"] == places["label"]).mean()), 6)
    doubtful = read(folder / explore.LABEL_ERRORS)
    assert len(doubtful) == (places["predicted"] != places["label"]).sum()
    assert doubtful["file"].str.endswith(" ü.png").all()
    assert read(folder / explore.SHOTS)["train_per_class"].to_list() == ["1", "2", "6"]
    assert "right in cross-validation; with 2 times the labels " in capsys.readouterr().out


def test_a_label_that_a_person_has_checked_is_not_doubted_again(explored, capsys):
    folder = explored()
    splits = read(folder / "data/splits.csv")
    splits.loc[0, "label"] = "007" if splits["label"][0] == "NA" else "NA"
    splits.to_csv(folder / "data/splits.csv", index=False)
    run("explore", explore.main)
    first = splits.iloc[0]
    assert first["id"] in read(folder / explore.LABEL_ERRORS)["id"].to_list()
    line = f"{first['id']},,{first['label']},Ada,,yes\n"
    (folder / "labels.csv").write_text(f"id,path,label,who,when,checked\n{line}", encoding="utf-8")
    run("explore", explore.main)
    assert first["id"] not in read(folder / explore.LABEL_ERRORS)["id"].to_list()
    assert read_json(folder / explore.REPORT)["num_checked"] == 1
    assert "besides 1 that a person has checked" in capsys.readouterr().out


def test_a_second_run_writes_the_same_bytes(explored):
    folder = explored()
    first = [(folder / path).read_bytes() for path in OUTPUTS]
    run("explore", explore.main)
    assert [(folder / path).read_bytes() for path in OUTPUTS] == first


def test_a_large_map_is_thinned(explored):
    folder = explored(map_images=9)
    places = read(folder / explore.MAP)
    assert len(places) == read_json(folder / explore.REPORT)["num_images_on_map"] == 9
    assert places["label"].value_counts().to_list() == [3, 3, 3]


def test_images_left_out_of_a_few_shot_run_are_judged_too(explored):
    folder = explored(split_params=FRACTIONS | {"train_per_class": 2})
    places = read(folder / explore.MAP)
    assert len(places) == 36
    assert (places["split"] == "unused").any()
    assert read(folder / explore.SHOTS)["train_per_class"].to_list() == ["1", "2"]


def test_neither_torch_nor_mlflow_nor_matplotlib_is_imported(explored):
    folder = explored()
    code = (
        "import sys; from stages import explore; explore.main(); "
        "print({'torch', 'tensorflow', 'mlflow', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_folds": 1}, "`explore.num_folds` should be greater than or equal to 2, got 1"),
        ({"map_images": 2}, "`explore.map_images` should be greater than or equal to 3, got 2"),
        ({"num_draws": 0}, "`explore.num_draws` should be greater than 0, got 0"),
    ],
)
def test_a_mistake_is_one_line(explored, params, message):
    with pytest.raises(SystemExit) as stop:
        explored(**params)
    assert message in str(stop.value)
    assert "\n" not in str(stop.value)


def test_a_lost_image_is_named(explored):
    folder = explored()
    next((folder / "data/images").iterdir()).unlink()
    with pytest.raises(SystemExit, match=r"explore: error: data/images/.*\.png: .*brings it back"):
        run("explore", explore.main)


def test_three_images_a_class_are_enough(project):
    folder = project(split=FRACTIONS)
    write_pipeline_start(folder, per_class=3)
    write_images(folder)
    run("split", split.main)
    run("explore", explore.main)
    assert read_json(folder / explore.REPORT)["num_images"] == 9
    assert read(folder / explore.SHOTS)["train_per_class"].to_list() == ["1"]
