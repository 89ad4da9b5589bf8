"""Transfer: the pipeline's own split and head on other images, fair from one number of shots to the next."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import Tensor, nn

from stages.graft.core.errors import DataError
from stages.graft.heads.features import FeatureSet
from stages.graft.images.decode import resize_and_crop
from stages.pretraining import transfer_accuracy
from stages.pretraining.transfer_accuracy import (
    LabelledSet,
    TransferParams,
    accuracies,
    network_features,
    pixel_features,
    read_set,
)
from tests.support.pictures import class_folder, pixels, png, write


def params(shots: tuple[int | None, ...], num_seeds: int) -> TransferParams:
    return TransferParams(datasets={}, shots=shots, num_seeds=num_seeds, l2_grid=(1.0, 0.1))


def labelled_set(num_classes: int, per_class: int) -> LabelledSet:
    ids = sorted(sha256(bytes([k // 256, k % 256])).hexdigest() for k in range(num_classes * per_class))
    labels = [f"class {number % num_classes}" for number in range(len(ids))]
    table = pd.DataFrame({"id": ids, "label": labels, "group": "", "split": ""})
    return LabelledSet(name="toy", table=table, images=[])


def separable(labelled: LabelledSet, rng: np.random.Generator) -> transfer_accuracy.Float32:
    """Features that give the class away."""
    y = labelled.table["label"].str.removeprefix("class ").astype(int)
    return (10 * np.eye(y.max() + 1)[y] + rng.normal(size=(len(y), y.max() + 1))).astype(np.float32)


def test_separable_features_are_classified_without_a_mistake(rng):
    labelled = labelled_set(3, 20)
    found = list(accuracies(labelled, separable(labelled, rng), params((2, None), 3)))
    assert found == [("2", [1.0] * 3), ("all", [1.0] * 3)]


def test_labels_that_the_features_know_nothing_of_are_guessed(rng):
    labelled = labelled_set(2, 100)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    ((_, found),) = accuracies(labelled, x, params((None,), 8))  # 8 times 30 test images
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_the_order_of_the_rows_does_not_matter(rng):
    labelled = labelled_set(3, 20)
    x = (separable(labelled, rng) + 8 * rng.normal(size=(60, 3))).astype(np.float32)
    order = rng.permutation(60)
    permuted = LabelledSet(name="toy", table=labelled.table.iloc[order].reset_index(drop=True), images=[])
    found = [list(accuracies(*one, params((5, None), 4))) for one in ((labelled, x), (permuted, x[order]))]
    for (name, ours), (other_name, others) in zip(*found, strict=True):
        assert name == other_name
        np.testing.assert_allclose(ours, others, atol=0.12)  # one of nine test images may change sides
    assert 0.34 < np.mean(found[0][1][1]) < 1.0  # hard enough to tell


def test_shots_change_the_training_images_alone_and_seeds_all(rng, monkeypatch):
    seen: list[FeatureSet] = []

    def noted(**fields) -> FeatureSet:
        seen.append(FeatureSet(**fields))
        return seen[-1]

    monkeypatch.setattr(transfer_accuracy, "FeatureSet", noted)
    labelled = labelled_set(3, 20)
    list(accuracies(labelled, separable(labelled, rng), params((2, 5, None), 2)))
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
    assert labelled.table.columns.tolist() == ["id", "label", "group", "split"]
    expected = {sha256(png(100 * k + n)).hexdigest(): (k, 100 * k + n) for k in (0, 1) for n in range(3)}
    assert labelled.table["id"].tolist() == sorted(expected)
    assert labelled.table["label"].tolist() == [("hole", "scratch")[expected[id_][0]] for id_ in sorted(expected)]
    for id_, image in zip(labelled.table["id"], labelled.images, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(pixels(expected[id_][1])))


def test_groups_and_splits_of_a_list_are_kept(tmp_path: Path):
    class_folder(tmp_path, 2)
    rows = ["hole/0.png,a,g1,train", "hole/1.png,a,g1,", "scratch/0.png,b,,test", "scratch/1.png,b,,"]
    source = write(tmp_path / "list.csv", "\n".join(["path,label,group,split", *rows]).encode())
    table = read_set("list", str(source), tmp_path / "cache").table.set_index("id")
    assert table.loc[sha256(png(0)).hexdigest()].tolist() == ["a", "g1", "train"]
    assert table.loc[sha256(png(100)).hexdigest()].tolist() == ["b", "", "test"]


def test_a_damaged_image_is_named_in_one_line(tmp_path: Path):
    folder = class_folder(tmp_path / "plates")
    write(folder / "scratch" / "1.png", png(7)[:-30])
    with pytest.raises(DataError, match=r"plates: scratch/1\.png: damaged or truncated") as caught:
        read_set("plates", str(folder), tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        read_set("plates", str(tmp_path / "nowhere"), tmp_path / "cache")


def test_network_features_come_in_batches_of_one_shape_and_in_order(monkeypatch):
    monkeypatch.setattr(transfer_accuracy, "BATCH_SIZE", 4)
    shapes = []

    class Mean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            shapes.append(tuple(images.shape))
            return images.float().mean(dim=(1, 2))

    images = [pixels(seed, 40, 30 + seed) for seed in range(6)]
    x = network_features(LabelledSet(name="toy", table=pd.DataFrame(), images=images), Mean(), 16)
    assert shapes == [(4, 16, 16, 3)] * 2
    expected = [resize_and_crop(image, 16, 16).mean(axis=(0, 1)) for image in images]
    np.testing.assert_allclose(x, expected, rtol=1e-5)
    assert x.dtype == np.float32


def test_the_baseline_sees_grey_pixels():
    images = [Image.new("RGB", (50, 20), colour) for colour in ("white", "black", "red")]
    x = pixel_features(LabelledSet(name="toy", table=pd.DataFrame(), images=images))
    assert x.shape == (3, 1024)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.repeat([[255], [0], [76]], 1024, axis=1))  # red's luma: 0.299 * 255
