"""Transfer: the pipeline's own split and head on other images, fair from one number of shots to the next."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.core.params import load_params
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.decode import Batch
from stages.pretraining import transfer_accuracy
from stages.pretraining.network_setup import square_preprocessing
from stages.pretraining.transfer_accuracy import (
    DatasetParams,
    LabelledSet,
    Measured,
    TransferParams,
    batch_features,
    pixel_features,
    read_set,
    transfer_rows,
)
from tests.conftest import REPOSITORY
from tests.support.pictures import class_folder, encoded, pixels, png, write

DATASET = DatasetParams(source="toy", val_fraction=0.15, test_fraction=0.15)
HEAD = load_params("train_head", TrainHeadParams, REPOSITORY / "params.yaml")


def found(labelled: LabelledSet, x: Float32, shots: tuple[int | None, ...], num_seeds: int) -> dict[str, float]:
    """Accuracy by the number of training images."""
    fields = {"datasets": {}, "fit": "crop", "networks": (), "views": (1,), "shots": shots, "num_seeds": num_seeds}
    params = TransferParams(heads=("prototype",), **fields)
    measured = Measured(network="toy", weights="bundled", views=1, heads=params.heads, x=x)
    rows = transfer_rows(labelled, measured, params, DATASET, HEAD)
    return {row["train_per_class"]: row["accuracy"] for row in rows}


def labelled_set(num_classes: int, per_class: int) -> LabelledSet:
    ids = sorted(sha256(bytes([k // 256, k % 256])).hexdigest() for k in range(num_classes * per_class))
    labels = [f"class {number % num_classes}" for number in range(len(ids))]
    table = pd.DataFrame({"id": ids, "label": labels, "group": "", "split": ""})
    return LabelledSet(name="toy", table=table, files=[])


def separable(labelled: LabelledSet, rng: np.random.Generator) -> Float32:
    """Features that give the class away."""
    y = labelled.table["label"].str.removeprefix("class ").astype(int)
    return (10 * np.eye(y.max() + 1)[y] + rng.normal(size=(len(y), y.max() + 1))).astype(np.float32)


def test_separable_features_are_classified_without_a_mistake(rng):
    labelled = labelled_set(3, 20)
    assert found(labelled, separable(labelled, rng), (2, None), 3) == {"2": 1, "all": 1}


def test_labels_that_the_features_know_nothing_of_are_guessed(rng):
    labelled = labelled_set(2, 100)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    assert found(labelled, x, (None,), 8)["all"] == pytest.approx(0.5, abs=0.1)  # 8 times 30 test images


def test_the_order_of_the_rows_does_not_matter(rng):
    labelled = labelled_set(3, 20)
    x = (separable(labelled, rng) + 8 * rng.normal(size=(60, 3))).astype(np.float32)
    order = rng.permutation(60)
    permuted = LabelledSet(name="toy", table=labelled.table.iloc[order].reset_index(drop=True), files=[])
    ours, others = found(labelled, x, (5, None), 4), found(permuted, x[order], (5, None), 4)
    assert ours == pytest.approx(others, abs=0.05)
    assert 0.34 < ours["5"] < 1.0  # hard enough to tell


def test_shots_change_the_training_images_alone_and_seeds_all(rng, monkeypatch):
    seen: list[FeatureSet] = []

    def noted(**fields) -> FeatureSet:
        seen.append(FeatureSet(**fields))
        return seen[-1]

    monkeypatch.setattr(transfer_accuracy, "FeatureSet", noted)
    labelled = labelled_set(3, 20)
    found(labelled, separable(labelled, rng), (2, 5, None), 2)
    runs = [seen[start : start + 3] for start in range(0, len(seen), 3)]  # of each shots, of each seed
    for seed in range(2):
        few, more, everything = runs[seed::2]
        assert [np.bincount(train.y).tolist() for train, _, _ in runs[seed::2]] == [[2] * 3, [5] * 3, [14] * 3]
        for side in (1, 2):  # validation and test
            assert few[side].ids == more[side].ids == everything[side].ids
            assert np.bincount(few[side].y).tolist() == [3] * 3
        assert set(few[0].ids) < set(more[0].ids) < set(everything[0].ids)
        assert len({id_ for one in everything for id_ in one.ids}) == 60
    assert all(one.ids != other.ids for one, other in zip(runs[0], runs[1], strict=True))


def test_a_set_is_read_from_a_class_folder_in_order_of_id(tmp_path: Path):
    folder = class_folder(tmp_path / "plates", 3)
    write(folder / "hole" / "copy.png", png(0))
    write(folder / "hole" / "notes.txt", b"text")
    labelled = read_set("plates", str(folder), tmp_path / "cache")
    assert labelled.name == "plates"
    assert labelled.table.columns.tolist() == ["id", "file", "label", "group", "split"]
    expected = {sha256(png(100 * k + n)).hexdigest(): (k, 100 * k + n) for k in (0, 1) for n in range(3)}
    assert labelled.table["id"].tolist() == sorted(expected)
    assert labelled.table["label"].tolist() == [("hole", "scratch")[expected[id_][0]] for id_ in sorted(expected)]
    assert list(labelled.files) == [png(expected[id_][1]) for id_ in labelled.table["id"]]


def test_groups_and_splits_of_a_list_are_kept(tmp_path: Path):
    class_folder(tmp_path, 2)
    rows = ["hole/0.png,a,g1,train", "hole/1.png,a,g1,", "scratch/0.png,b,,test", "scratch/1.png,b,,"]
    source = write(tmp_path / "list.csv", "\n".join(["path,label,group,split", *rows]).encode())
    table = read_set("list", str(source), tmp_path / "cache").table.set_index("id")
    assert table.loc[sha256(png(0)).hexdigest()].tolist() == ["hole/0.png", "a", "g1", "train"]
    assert table.loc[sha256(png(100)).hexdigest()].tolist() == ["scratch/0.png", "b", "", "test"]


def test_a_damaged_image_is_named_in_one_line(tmp_path: Path):
    folder = class_folder(tmp_path / "plates")
    write(folder / "scratch" / "1.png", png(7)[:-30])
    labelled = read_set("plates", str(folder), tmp_path / "cache")
    with pytest.raises(DataError, match=r"plates: scratch/1\.png: damaged or truncated") as caught:
        batch_features(labelled, square_preprocessing(16), lambda batch: batch.mean(axis=(1, 2)), 4)
    assert "\n" not in str(caught.value)


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        read_set("plates", str(tmp_path / "nowhere"), tmp_path / "cache")


def test_features_come_in_batches_of_one_shape_and_in_order():
    shapes = []

    def corner(batch: Batch) -> Float32:
        shapes.append(batch.shape)
        return batch[:, 0, 0].astype(np.float32)

    images = [encoded(pixels(seed, 16, 16), "PNG") for seed in range(6)]
    labelled = LabelledSet(name="toy", table=pd.DataFrame(), files=images)
    x = batch_features(labelled, square_preprocessing(16), corner, 4)
    assert shapes == [(4, 16, 16, 3)] * 2
    np.testing.assert_array_equal(x, np.stack([np.asarray(pixels(seed, 16, 16))[0, 0] for seed in range(6)]))


def test_the_baseline_sees_grey_pixels():
    images = [encoded(Image.new("RGB", (50, 20), colour), "PNG") for colour in ("white", "black", "red")]
    x = pixel_features(LabelledSet(name="toy", table=pd.DataFrame(), files=images))
    assert x.shape == (3, 1024)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.repeat([[255], [0], [76]], 1024, axis=1))  # red's luma: 0.299 * 255
