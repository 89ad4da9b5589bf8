import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.model.bundle import load_bundle
from stages.graft.model.export_check import Reference, answered_by, compare, differences, references, speed, torch_run
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.model.whole_model import WholeModel


def answers(probabilities, distance, unsure, unknown):
    return {
        "probabilities": np.array(probabilities),
        "distance": np.array(distance),
        "unsure": np.array(unsure),
        "unknown": np.array(unknown),
    }


A = answers([[0.9, 0.1], [0.4, 0.6], [0.55, 0.45]], [1.0, 1.1, 2.0], [False, False, True], [False, False, True])
B = answers([[0.8, 0.2], [0.4, 0.6], [0.45, 0.55]], [1.0, 1.4, 2.0], [False, False, True], [False, True, True])


def test_differences_of_hand_computed_answers():
    assert differences(A, B) == {
        "num_images": 3,
        "same_label": 2,
        "same_unsure": 3,
        "same_unknown": 2,
        "max_difference_probabilities": pytest.approx(0.1),
        "max_difference_distance": pytest.approx(0.3),
    }
    assert differences(A, A)["same_label"] == 3


def test_compare_joins_what_comes_in_parts():
    squares = np.zeros((3, 2, 2, 3), np.uint8)
    parts = [Reference(squares=squares[:k], answers={name: value[:k] for name, value in A.items()}) for k in (3, 1, 2)]
    runs = {"same": lambda images: {name: value[: len(images)] for name, value in A.items()}}
    runs["other"] = lambda images: {name: value[: len(images)] for name, value in B.items()}
    found = compare(runs, iter(parts))
    assert (found["same"]["num_images"], found["same"]["same_label"]) == (6, 6)
    assert (found["other"]["num_images"], found["other"]["same_label"]) == (6, 5)
    assert compare({"same": runs["other"]}, answered_by(runs["other"], parts))["same"]["same_unknown"] == 6
    with pytest.raises(DataError, match="no readable image to compare"):
        compare(runs, [])


def test_references_are_the_pipelines_answers_without_what_is_no_image(bundle_folder):
    predictor = Predictor(load_bundle(bundle_folder))
    paths = sorted((bundle_folder.parent / "pictures").rglob("*.png"))[::10]
    files = [ImageFile(name="", read=lambda: b"no image"), *map(ImageFile.at, paths), ImageFile(name="", read=bytes)]
    found = list(references(predictor, files))
    assert sum(len(reference.squares) for reference in found) == len(paths)
    run = torch_run(WholeModel(load_bundle(bundle_folder)))
    assert compare({"torch": run}, found)["torch"]["same_label"] == len(paths)


def test_speed_counts_images(monkeypatch):
    monkeypatch.setattr("stages.graft.model.export_check.SECONDS", 0.01)
    squares = np.zeros((4, 2, 2, 3), np.uint8)
    seen = []
    found = speed(lambda images: seen.append(len(images)) or {}, lambda images: seen.append(len(images)) or {}, squares)
    assert set(seen) == {1, 4}
    assert found["batch_size"] == 4
    assert found["images_per_second"] > 0
