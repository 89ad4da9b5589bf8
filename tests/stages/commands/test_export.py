import json

import numpy as np
import pytest
from PIL import Image

from stages.commands import export
from stages.graft.backbone.openvino_runtime import openvino
from stages.graft.storage.hashing import sha256_of
from tests.graft.model.test_exported_graph import needs_onnx
from tests.support.bundles import CLASSES
from tests.support.commands import graft


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("stages.graft.model.export_check.SECONDS", 0.01)


def run(bundle_folder, format_, out, *more):
    images = bundle_folder.parent / "pictures"
    graft("export", "--format", format_, "--out", str(out), "--model", str(bundle_folder), *more,
              "--images", str(images))  # fmt: skip


@pytest.mark.parametrize("format_", ["openvino", pytest.param("onnx", marks=needs_onnx)])
def test_an_export_says_what_it_is_worth(bundle_folder, tmp_path, capsys, format_):
    run(bundle_folder, format_, tmp_path / "out")
    record = json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))
    said = capsys.readouterr().out
    for name, found in record["precisions"].items():
        assert found["against_pipeline"]["num_images"] == found["against_pipeline"]["same_label"] == 72
        assert found["against_torch_fp32"]["max_difference_probabilities"] < (1e-4 if name == "fp32" else 2e-2)
        assert found["speed"]["latency_ms"] > 0
        assert f"in {name}: the pipeline's class for 72 of 72 images, probabilities within" in said
    files = {path.name for path in (tmp_path / "out").iterdir()} - {"export.json"}
    assert set(record["sha256"]) == files
    assert all(sha256_of(tmp_path / "out" / name) == digest for name, digest in record["sha256"].items())
    told = json.loads((tmp_path / "out/README.json").read_text(encoding="utf-8"))
    assert told["classes"] == list(CLASSES)


def test_an_earlier_export_is_replaced_and_nothing_else(bundle_folder, tmp_path, monkeypatch, capsys):
    for name, file in (("out", "export.json"), ("mine", "thesis.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("x")
    monkeypatch.setattr(export, "same_labels", lambda found: False)
    run(bundle_folder, "openvino", tmp_path / "out")
    assert "fp32 it is not the same classifier; see export.json" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))["format"] == "openvino"
    with pytest.raises(SystemExit, match="mine exists and holds no earlier export; name a new folder"):
        run(bundle_folder, "openvino", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_the_file_alone_is_enough_to_classify(bundle_folder, tmp_path):
    run(bundle_folder, "openvino", tmp_path / "out")
    model = openvino.Core().compile_model(tmp_path / "out/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    told = json.loads((tmp_path / "out/README.json").read_text(encoding="utf-8"))
    px = told["input"]["shape"][1]
    for path in sorted((bundle_folder.parent / "pictures").rglob("1*.png")):
        image = Image.open(path).convert("RGB").resize((px, px), Image.Resampling.BILINEAR)
        found = model({told["input"]["name"]: np.asarray(image)[None]})
        assert told["classes"][found["probabilities"].argmax()] == path.parent.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "{bundle}"], "--images must name images to compare on, since --model is not this repository's"),
        (["--model", "nowhere"], "--model nowhere: no bundle.json there"),
        (["--model", "{bundle}", "--images", "nowhere"], "nowhere does not exist"),
        (["--model", "{bundle}", "--images", "{bundle}/model.json"], "no readable image to compare"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_nothing(bundle_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [one.format(bundle=bundle_folder) for one in arguments]
    with pytest.raises(SystemExit) as ended:
        graft("export", "--format", "openvino", "--out", "out", *given)
    assert str(ended.value).startswith("graft export: error: ")
    assert message in str(ended.value)
    assert not list(tmp_path.glob("*out*"))
