import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.splits import count_splits, read_splits, write_splits

TABLE = pd.DataFrame(
    {
        "id": ["a1", "b2", "c3", "d4"],
        "label": ["NA", "007", "true", "NA"],
        "split": ["train", "val", "test", "unused"],
    }
)


def test_text_stays_text_and_rows_are_sorted(tmp_path):
    path = tmp_path / "splits.csv"
    write_splits(TABLE.iloc[::-1], path)
    pd.testing.assert_frame_equal(read_splits(path), TABLE)
    assert path.read_bytes() == b"id,label,split\na1,NA,train\nb2,007,val\nc3,true,test\nd4,NA,unused\n"


def test_counts_per_class_and_split():
    assert count_splits(TABLE) == {
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
        (None, "cannot be read as a splits table"),
        ("", "cannot be read as a splits table"),
        ("id,label\n1,a\n", "expected columns id,label,split, found id,label"),
        ("id,label,split\n1,a,dev\n", "unknown splits .'dev'."),
    ],
)
def test_another_file_is_refused(tmp_path, content, message):
    path = tmp_path / "splits.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_splits(path)
