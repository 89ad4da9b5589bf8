"""The packed features file: rows follow their ids into the splits."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.heads.features import load_all_features, load_features, read_backbone_record, read_features, sample
from tests.support.features import sparse_features, write_features
from tests.support.pipeline import write_split_table

IDS = [sha256(bytes([number])).hexdigest() for number in range(6)]
LABELS = ["NA", "007", "true", "NA", "007", "NA"]
SPLITS = ["train", "train", "train", "val", "test", "unused"]
X = np.arange(12, dtype=np.float32).reshape(6, 2)
RECORD = {"name": "tiny", "sha256": None, "preprocessing": {"mean": (0.5, 0.5, 0.5)}}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Features and splits of six images, in different orders."""
    write_features(IDS, X, RECORD, tmp_path / "features.safetensors")
    write_split_table(IDS, LABELS, SPLITS, tmp_path / "splits.csv")
    return tmp_path / "features.safetensors", tmp_path / "splits.csv"


def test_ids_rows_and_record_come_back(files: tuple[Path, Path]):
    ids, x = read_features(files[0])
    assert ids == IDS
    np.testing.assert_array_equal(x, X, strict=True)
    assert read_backbone_record(files[0]) == {**RECORD, "preprocessing": {"mean": [0.5, 0.5, 0.5]}}


def test_writing_twice_gives_the_same_bytes(files: tuple[Path, Path], tmp_path: Path):
    write_features(IDS, X, dict(reversed(RECORD.items())), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == files[0].read_bytes()


def test_each_split_gets_its_own_rows_in_order_of_id(files: tuple[Path, Path]):
    train, test = load_features(*files, "train", "test")
    assert train.ids == tuple(sorted(IDS[:3]))
    rows = [IDS.index(id_) for id_ in train.ids]
    np.testing.assert_array_equal(train.x, X[rows])
    assert [train.classes[k] for k in train.y] == [LABELS[row] for row in rows]
    assert (test.ids, test.x.tolist()) == ((IDS[4],), [[8.0, 9.0]])


def test_classes_are_text_sorted_and_the_same_for_every_split(files: tuple[Path, Path]):
    for one in load_features(*files, "train", "val", "test"):
        assert one.classes == ("007", "NA", "true")
        assert one.y.dtype == np.int64


def test_an_image_without_features_is_named(files: tuple[Path, Path], tmp_path: Path):
    write_features(IDS[1:], X[1:], RECORD, tmp_path / "short.safetensors")
    with pytest.raises(DataError, match=rf"short\.safetensors lacks 1 images of .*{IDS[0]}"):
        load_features(tmp_path / "short.safetensors", files[1], "train")


def test_features_of_images_that_left_the_splits_are_passed_over(files: tuple[Path, Path]):
    write_split_table(IDS[:2], LABELS[:2], SPLITS[:2], files[1])
    (train,) = load_features(*files, "train")
    assert sorted(train.ids) == sorted(IDS[:2])


def test_a_split_without_images_is_empty(files: tuple[Path, Path]):
    write_split_table(IDS, LABELS, ["train"] * 6, files[1])
    (val,) = load_features(*files, "val")
    assert val.x.shape == (0, 2)
    assert val.y.shape == (0,)


def test_damaged_features_are_named(files: tuple[Path, Path]):
    files[0].write_bytes(files[0].read_bytes()[:-1])
    with pytest.raises(DataError, match=r"features\.safetensors"):
        load_features(*files, "train")


def test_all_features_stay_in_the_file_when_it_has_the_images_of_the_table(files: tuple[Path, Path]):
    order = np.argsort(IDS)
    write_features([IDS[row] for row in order], X[order], RECORD, files[0])
    everything = load_all_features(*files)
    assert everything.ids == tuple(sorted(IDS))
    np.testing.assert_array_equal(everything.x, X[order], strict=True)
    assert not everything.x.flags.owndata
    assert not everything.x.flags.writeable


def test_all_features_follow_the_table_in_any_order(files: tuple[Path, Path]):
    everything = load_all_features(*files)
    np.testing.assert_array_equal(everything.x, X[[IDS.index(id_) for id_ in everything.ids]])


def test_a_sample_has_the_shares_of_the_classes_and_below_the_bound_it_is_all(rng):
    images = sparse_features(rng, 20)
    assert sample(images, 80) is images
    some = sample(images, 40)
    assert np.bincount(some.y).tolist() == [10] * 4
    assert set(some.ids) < set(images.ids)
    np.testing.assert_array_equal(some.x, images.x[[images.ids.index(id_) for id_ in some.ids]])
