import pytest

from stages import split
from stages.graft.core.stage import run
from stages.graft.data.manifest import read_manifest
from stages.graft.data.splits import read_splits
from stages.graft.storage.files import read_json
from stages.graft.storage.tables import write_csv
from tests.support.pipeline import CLASSES, write_duplicates, write_pipeline_start


@pytest.fixture
def splits(project):
    """Run the stage with parameters of its own; give the project's folder."""

    def run_stage(**params):
        folder = project(split=params)
        if not (folder / "data").exists():
            write_pipeline_start(folder)
        run("split", split.main)
        return folder

    return run_stage


def test_it_writes_the_table_and_the_counts(splits, capsys):
    folder = splits(seed=0, val_fraction=0.25, test_fraction=0.25, train_per_class=None)
    table = read_splits(folder / "data/splits.csv")
    assert table["id"].is_monotonic_increasing
    report = read_json(folder / "reports/split.json")
    assert report["num_train"] == 18
    assert report["classes"] == {name: {"train": 6, "val": 3, "test": 3, "unused": 0} for name in CLASSES}
    said = "split: 18 train, 9 val, 9 test; no test image has a near-duplicate in train or validation\n"
    assert capsys.readouterr().out == said


def test_near_duplicates_stay_together_unless_told_otherwise(splits, capsys):
    folder = splits(val_fraction=0.25, test_fraction=0.25)
    ids = read_splits(folder / "data/splits.csv")["id"]
    test = read_splits(folder / "data/splits.csv")["split"] == "test"
    twins = [int(test.idxmax()), int((~test).idxmax())]  # one in test, one elsewhere
    write_duplicates(folder, twins=twins)
    splits(val_fraction=0.25, test_fraction=0.25)
    table = read_splits(folder / "data/splits.csv", ("id", "split", "group", "duplicates"))
    assert len(set(table["split"][twins])) == 1
    assert set(table["group"][twins]) == {ids[min(twins)]}
    assert read_json(folder / "reports/split.json")["num_leaked"] == 0
    splits(val_fraction=0.25, test_fraction=0.25, keep_duplicates_together=False)
    report = read_json(folder / "reports/split.json")
    assert (report["num_leaked"], report["num_test_groups"]) == (1, 9)
    assert "; 1 test image has a near-duplicate in train or validation" in capsys.readouterr().out


def test_few_shots_leave_the_other_train_images_unused(splits):
    folder = splits(seed=0, val_fraction=0.25, test_fraction=0.25, train_per_class=2)
    assert read_json(folder / "reports/split.json")["num_unused"] == 12


def test_a_second_run_writes_the_same_bytes(splits):
    first = (splits() / "data/splits.csv").read_bytes()
    assert (splits() / "data/splits.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"val_fraction": 0.5, "test_fraction": 0.5},
            "`split` val_fraction and test_fraction must leave something for",
        ),
        ({"val_fraction": -0.1}, "`split.val_fraction` should be greater than or equal to 0, got -0.1"),
        ({"train_per_class": 0}, "`split.train_per_class` should be greater than 0, got 0"),
        ({"test_fraction": 0.0}, "no image is left for test of class '007' (10 train, 2 val, 0 test), 'NA'"),
    ],
)
def test_a_mistake_is_one_line(splits, params, message):
    with pytest.raises(SystemExit) as stop:
        splits(**params)
    assert message in str(stop.value)
    assert "\n" not in str(stop.value)


def test_splits_of_the_source_are_kept_and_the_line_says_what_is_drawn(splits, capsys):
    folder = splits()
    manifest = read_manifest(folder / "data/manifest.csv")
    first = manifest.groupby("label").cumcount() < 4
    manifest["split"] = first.map({True: "val", False: "train"})
    write_csv(manifest, folder / "data/manifest.csv")
    write_duplicates(folder)
    capsys.readouterr()
    table = read_splits(splits() / "data/splits.csv")
    assert set(table["id"][table["split"] == "val"]) == set(manifest["id"][first])
    said = "split: 18 train, 12 val, 6 test; the source gives train and val, so test is drawn from train; no "
    assert capsys.readouterr().out.startswith(said)
    assert read_json(folder / "reports/split.json")["given"] == ["train", "val"]
