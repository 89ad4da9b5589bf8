import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.manifest import COLUMNS, read_manifest
from stages.graft.data.splits import count_splits, extend_table, read_splits
from tests.support.pipeline import write_split_table

IDS = [f"{number:064x}" for number in range(4)]
LABELS, DRAWN = pd.Series(["NA", "007", "true", "NA"]), pd.Series(["train", "val", "test", "unused"])


def test_it_is_the_manifest_with_the_splits_drawn(tmp_path):
    manifest, path = tmp_path / "manifest.csv", tmp_path / "splits.csv"
    write_split_table(IDS, LABELS, ["", "val", "", ""], manifest)
    extend_table(manifest, path, split=DRAWN)
    pd.testing.assert_frame_equal(read_splits(path, COLUMNS), read_manifest(manifest).assign(split=DRAWN))
    pd.testing.assert_frame_equal(read_splits(path), pd.DataFrame({"id": IDS, "label": LABELS, "split": DRAWN}))
    assert path.read_text().splitlines()[1] == f"{IDS[0]},NA/0 ü.png,NA,,train,200,100,PNG,L"


def test_counts_per_class_and_split():
    assert count_splits(LABELS, DRAWN) == {
        "num_train": 1,
        "num_val": 1,
        "num_test": 1,
        "num_unused": 1,
        "num_classes": 3,
        "classes": {
            "007": {"train": 0, "val": 1, "test": 0, "unused": 0},
            "NA": {"train": 1, "val": 0, "test": 0, "unused": 1},
            "true": {"train": 0, "val": 0, "test": 1, "unused": 0},
        },
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; run `dvc repro`"),
        ("", "cannot be read as CSV"),
        ("id,label\n1,a\n", "columns missing: split; found id, label"),
        (f"id,label,split\n{IDS[0]},a,dev\n", "unknown splits .'dev'."),
    ],
)
def test_another_file_is_refused(tmp_path, content, message):
    path = tmp_path / "splits.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_splits(path)
