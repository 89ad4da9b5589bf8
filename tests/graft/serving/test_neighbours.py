"""The nearest training images, computed by hand, and those of a project."""

import numpy as np
import pytest

from stages.graft.model.predictor import ImageFile, load_predictor
from stages.graft.serving.neighbours import TrainingImages, find_training_images
from tests.support.features import feature_set


def test_the_nearest_come_first_in_standardised_features():
    # The first feature spreads four times as far as the second; unscaled, the order would be 3, 1, 2.
    images = feature_set([[0, 0], [4, 0], [0, 1], [4, 1]], [0, 0, 1, 1])
    training = TrainingImages(images, None, None)
    near = training.nearest(np.array([2.4, 0.9], np.float32), 3)
    assert [one.id for one in near] == [images.ids[k] for k in (3, 2, 1)]
    assert [one.label for one in near] == ["class 1", "class 1", "class 0"]
    assert near[0].distance == pytest.approx(np.sqrt((1.6**2 / 4.15625 + 0.1**2 / 0.40625) / 2))
    assert len(training.nearest(np.array([0, 0], np.float32), 9)) == 4


def test_a_project_gives_its_training_images_and_thumbnails(served_project):
    predictor = load_predictor(served_project, batch_size=1)
    training = find_training_images(served_project / "data/bundle", predictor)
    [file, *_] = sorted((served_project / "data/images").iterdir())
    [found] = predictor.answer_all([ImageFile.at_address(str(file), "")])
    [nearest] = training.nearest(found.x, 1)
    assert (nearest.id, round(nearest.distance, 2)) == (file.stem, 0)
    assert training.thumbnail(file.stem).startswith(b"\xff\xd8")
    assert training.thumbnail("../../etc/passwd") is None


def test_without_a_project_there_are_none(bundle_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_training_images(bundle_folder, load_predictor(bundle_folder)) is None


def test_features_of_another_network_are_computed_again(served_project, bundle_folder, capsys):
    from stages.graft.heads.features import read_features
    from stages.graft.storage.arrays import read_arrays, read_metadata, write_arrays

    path = served_project / "data/features.safetensors"
    ids, x = read_features(path)
    arrays, record = read_arrays(path), read_metadata(path)
    write_arrays(arrays | {"features": np.zeros_like(x)}, path, {"backbone": {"name": "another"}})
    try:
        predictor = load_predictor(served_project)
        training = find_training_images(served_project / "data/bundle", predictor)
    finally:
        write_arrays(arrays, path, record)
    assert f"computing the features of {len(ids)} training images" in capsys.readouterr().err
    assert training.nearest(x[5], 1)[0].id == ids[5]
