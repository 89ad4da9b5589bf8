"""A bundle whose network is in int8: it says so, runs where NNCF is missing, and its OpenVINO export stays in int8."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from stages.commands.export import int8_network
from stages.graft.model.bundle import load_bundle
from stages.graft.model.exported_graph import open_graph, precisions, write_graph
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.model.whole_model import WholeModel
from stages.graft.storage.files import read_json
from tests.conftest import REPOSITORY
from tests.support.bundles import make_bundle

pytestmark = pytest.mark.skipif(find_spec("nncf") is None, reason="the extra `int8` is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("int8")
        patch.setenv("GRAFT_STORE", str(root / "store"))
        return make_bundle(root, precision="int8")


@pytest.fixture(scope="module")
def bundle(folder):
    return load_bundle(folder)


def pictures(folder: Path) -> list[Path]:
    return sorted((folder.parent / "pictures").rglob("*.png"))[::8]


def test_it_says_that_it_is_in_int8_and_on_what_it_was_calibrated(folder, bundle):
    record = read_json(folder / "bundle.json")["runtime"]
    assert (record["precision"], record["int8"]["num_images"]) == ("int8", 24)
    assert bundle.runtime.record["precision"] == "int8"


def test_it_classifies_where_nncf_is_not_installed(folder, bundle):
    files = pictures(folder)
    here = [row["label"] for row in Predictor(bundle).predict(map(ImageFile.at, files))]
    code = (
        "import sys; sys.modules['nncf'] = None\n"
        "from pathlib import Path\n"
        "from stages.graft.model.predictor import ImageFile, load_predictor\n"
        f"files, folder = {list(map(str, files))!r}, Path({str(folder)!r})\n"
        "rows = load_predictor(folder).predict(ImageFile.at(Path(file)) for file in files)\n"
        "print([row['label'] for row in rows])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == str(here), done.stderr
    assert set(here) == {"dark", "middle", "ü, light"}


@pytest.mark.parametrize("maps", [False, True])
def test_an_export_to_openvino_answers_as_the_bundle_does(folder, bundle, maps, tmp_path):
    model, int8 = WholeModel(bundle, maps), int8_network(bundle, "openvino")
    write_graph(model, "openvino", 64, {}, tmp_path, int8)
    assert 'element_type="i8"' in (tmp_path / "1/model.xml").read_text(encoding="utf-8")
    assert precisions("openvino", is_int8=True) == ("int8",)
    predictor = Predictor(bundle)
    files = [ImageFile.at(path) for path in pictures(folder)]
    squares, _ = zip(*(predictor._batch(files[start : start + 4]) for start in range(0, len(files), 4)), strict=True)
    images = np.concatenate(squares)[: len(files)]
    expected = list(predictor.explain(files))
    for number in (len(files), 1):  # any number of images at once
        found = open_graph(tmp_path, "openvino", "int8")(images[:number])
        labels = found["probabilities"].argmax(axis=1)
        assert [predictor.classes[label] for label in labels] == [one.row["label"] for one in expected[:number]]
        confidence = [one.row["confidence"] for one in expected[:number]]
        np.testing.assert_allclose(found["probabilities"].max(axis=1), confidence, atol=0.03)
        if maps:
            heat = np.stack([one.heat for one in expected[:number]])
            assert np.abs(found["heat"] - heat).max() < 0.1 * np.abs(heat).max()


def test_onnx_is_written_from_the_weights(bundle):
    assert int8_network(bundle, "onnx") is None
