import shutil

import pytest

from stages.graft.backbone.runtime_choice import AUTOMATIC
from stages.graft.core.errors import DataError
from stages.graft.model.bundle import load_bundle
from stages.graft.model.heat_map import EVIDENCE
from stages.graft.model.predictor import ImageFile, Predictor, load_predictor
from stages.graft.storage.files import read_json, write_json
from tests.support.bundles import CLASSES, make_bundle


@pytest.fixture
def copy(bundle_folder, tmp_path):
    return shutil.copytree(bundle_folder, tmp_path / "copy")


def answers(bundle, pictures):
    paths = sorted(pictures.rglob("*.png"))
    return [
        row["label"] for row in Predictor(bundle).predict(ImageFile(name="", read=path.read_bytes) for path in paths)
    ]


def test_a_bundle_works_where_its_store_and_data_are_not(copy, bundle_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "nothing"))
    found = answers(load_bundle(copy), bundle_folder.parent / "pictures")
    assert found == [label for label in sorted(CLASSES) for _ in range(24)]
    assert not (tmp_path / "nothing").exists()


def test_a_bundle_of_before_heat_maps_answers_the_same(copy, bundle_folder):
    record = read_json(copy / "bundle.json")
    (copy / EVIDENCE).unlink()
    del record["sha256"][EVIDENCE]
    write_json(record | {"format": 1}, copy / "bundle.json")
    pictures = bundle_folder.parent / "pictures"
    assert answers(load_bundle(copy), pictures) == answers(load_bundle(bundle_folder), pictures)
    assert load_bundle(copy).evidence.weights == ()


def test_torch_in_place_of_openvino_gives_the_same_answers(tmp_path, bundle_folder):
    folder = make_bundle(tmp_path, runtime="torch")
    assert str(read_json(folder / "bundle.json")["runtime"]["runtime"]).startswith("torch")
    pictures = bundle_folder.parent / "pictures"
    assert answers(load_bundle(folder), pictures) == answers(load_bundle(bundle_folder), pictures)


def test_a_bundle_made_with_openvino_runs_on_torch(copy, bundle_folder, monkeypatch, tmp_path):
    choice = AUTOMATIC.model_copy(update={"runtime": "torch", "batch_size": 4})
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "nothing"))
    pictures = bundle_folder.parent / "pictures"
    files = [ImageFile.at(path) for path in sorted(pictures.rglob("*.png"))]
    rows, expected = (list(load_predictor(copy, one).predict(files)) for one in (choice, None))
    assert [row["label"] for row in rows] == [row["label"] for row in expected]
    assert [row["confidence"] for row in rows] == pytest.approx([row["confidence"] for row in expected], abs=0.02)


def test_the_same_model_gives_the_same_bytes(bundle_folder, tmp_path):
    again = make_bundle(tmp_path)
    for path in bundle_folder.rglob("*"):
        if path.is_file():
            assert (again / path.relative_to(bundle_folder)).read_bytes() == path.read_bytes()


def test_a_model_keeps_the_limit_of_pixels(copy, bundle_folder):
    picture = next((bundle_folder.parent / "pictures").rglob("*.png")).read_bytes()  # 48 x 48
    record = read_json(copy / "bundle.json")
    for megapixels, error in ((0.0023, "48x48 pixels are over the limit of 0.0023 megapixels"), (0.0024, None)):
        write_json(record | {"max_megapixels": megapixels}, copy / "bundle.json")
        [row] = Predictor(load_bundle(copy)).predict([ImageFile(name="", read=lambda: picture)])
        assert row["error"] is None if error is None else row["error"].startswith(error)
    write_json({key: value for key, value in record.items() if key != "max_megapixels"}, copy / "bundle.json")
    assert load_bundle(copy).max_pixels == 50_000_000
    write_json(record | {"max_megapixels": "many"}, copy / "bundle.json")
    with pytest.raises(DataError, match="`max_megapixels` should be a valid number, got 'many'"):
        load_bundle(copy)


@pytest.mark.parametrize(
    "name", ["head.safetensors", "backbone.safetensors", "network/network.bin", "decision.json", "model.json"]
)
def test_a_damaged_file_is_named(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name} is missing or damaged; fetch the model again"):
        load_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing or damaged"):
        load_bundle(copy)


def test_what_is_no_bundle_is_refused(copy, tmp_path):
    with pytest.raises(DataError, match=r"holds no model: no bundle\.json in it; `dvc repro`"):
        load_bundle(tmp_path)
    write_json(read_json(copy / "bundle.json") | {"format": 3}, copy / "bundle.json")
    with pytest.raises(DataError, match="is of format 3, this version of Graft reads 1 and 2"):
        load_bundle(copy)


def test_a_list_without_a_file_does_not_hide_it(copy):
    record = read_json(copy / "bundle.json")
    del record["sha256"]["head.safetensors"]
    write_json(record, copy / "bundle.json")
    with pytest.raises(DataError, match=r"head\.safetensors is missing or damaged"):
        load_bundle(copy)
